/**
 * A bad link as a program, for kernels without netem: stands between a TFTP client and a server, loses, repeats and delays
 * datagrams by seed. Each transfer keeps ports of its own on both sides, so the client sees the change of port that
 * RFC 1350 section 4 wants. Arguments: listen-port server-address loss duplicate reorder seed
 */
import { createSocket, type Socket } from 'node:dgram';

const [listenPort, server, ...numbers] = process.argv.slice(2);
const [loss = 0, duplicate = 0, reorder = 0, seed = 1] = numbers.map(Number);
const reorderMs = 20;
const totals = { forwarded: 0, lost: 0, repeated: 0, delayed: 0 };

let random = seed;
/** mulberry32. */
function chance(probability: number): boolean {
  random = (random + 0x6d2b79f5) | 0;
  let t = Math.imul(random ^ (random >>> 15), 1 | random);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296 < probability;
}

function forward(from: Socket, data: Buffer, port: number, address: string): void {
  totals.forwarded += 1;
  if (chance(loss)) {
    totals.lost += 1;
    return;
  }
  from.send(data, port, address);
  if (chance(duplicate)) {
    totals.repeated += 1;
    from.send(data, port, address);
  }
}

function relay(from: Socket, data: Buffer, port: number, address: string): void {
  if (chance(reorder)) {
    totals.delayed += 1;
    setTimeout(() => forward(from, data, port, address), reorderMs);
  } else {
    forward(from, data, port, address);
  }
}

const transfers = new Map<number, Socket>();

function openTransfer(clientPort: number): Socket {
  const toServer = createSocket('udp4');
  const toClient = createSocket('udp4');
  let serverPort = 0;
  toServer.on('message', (data, from) => {
    serverPort = from.port;
    relay(toClient, data, clientPort, '127.0.0.1');
  });
  toClient.on('message', (data) => relay(toServer, data, serverPort, server ?? ''));
  toServer.bind(0);
  toClient.bind(0, '127.0.0.1');
  return toServer;
}

const main = createSocket('udp4');
main.on('message', (data, from) => {
  const transfer = transfers.get(from.port) ?? openTransfer(from.port);
  transfers.set(from.port, transfer);
  relay(transfer, data, 69, server ?? '');
});
main.bind(Number(listenPort), '127.0.0.1', () => process.stdout.write('ready\n'));
process.on('SIGTERM', () => {
  process.stdout.write(`${JSON.stringify(totals)}\n`);
  process.exit(0);
});
