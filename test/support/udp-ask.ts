/** Sends each datagram (hex) from a port of its own and prints the first answer (hex), or "silence". host port hex... */
import { createSocket } from 'node:dgram';

const waitMs = 700;
const [host, port, ...packets] = process.argv.slice(2);

async function ask(packet: Buffer): Promise<string> {
  const socket = createSocket('udp4');
  const answer = await new Promise<string>((resolve) => {
    const timer = setTimeout(() => resolve('silence'), waitMs);
    socket.on('message', (data) => {
      clearTimeout(timer);
      resolve(data.toString('hex'));
    });
    socket.send(packet, Number(port), host);
  });
  socket.close();
  return answer;
}

const answers = await Promise.all(packets.map((packet) => ask(Buffer.from(packet, 'hex'))));
process.stdout.write(`${answers.join('\n')}\n`);
