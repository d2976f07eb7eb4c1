import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { type Mac, parseMac } from '#src/domain/mac.ts';
import { startChild } from '#src/process/supervise.ts';
import { insideNamespace } from '#src/sim/lab.ts';
import { cardless, publishTestImage, ran, serverLog, startLab, subnet, type TestLab, until } from '../support/lab-server.ts';

const serial = 'b66c4c16';
const mac = parseMac('b8:27:eb:6c:4c:16');

interface Board {
  /** As a bootloader with NETCONSOLE=6665@169.254.1.1/,6666@/ does: to the MAC 00:00:00:00:00:00. */
  say(...datagrams: string[]): Promise<void>;
  sayTo(port: number, ...datagrams: string[]): Promise<void>;
  inside(file: string, ...args: string[]): ReturnType<typeof ran>;
}

async function addBoard(lab: TestLab, boardMac: Mac, address: string): Promise<Board> {
  const namespace = await lab.lab.addBoard(boardMac);
  const inside = (file: string, ...args: string[]): ReturnType<typeof ran> => ran(...insideNamespace(namespace, file, args));
  await inside('ip', 'address', 'add', `${address}/24`, 'dev', 'eth0');
  const program = [
    'import json, socket, struct, sys',
    's = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)',
    "s.bind(('eth0', 0))",
    'for text in json.loads(sys.argv[1]):',
    "  data = text.encode('latin1')",
    "  fields = [0x45, 0, 28 + len(data), 0, 0, 64, 17, 0, bytes([169, 254, 1, 1]), b'\\xff' * 4]",
    "  header = lambda: struct.pack('!BBHHHBBH4s4s', *fields)",
    "  total = sum(struct.unpack('!10H', header()))",
    '  fields[7] = 0xffff - (total % 0xffff)',
    '  ip = header()',
    "  udp = struct.pack('!HHHH', 6665, int(sys.argv[2]), 8 + len(data), 0)",
    "  s.send(bytes(6) + s.getsockname()[4] + b'\\x08\\x00' + ip + udp + data)",
  ].join('\n');
  const sayTo = async (port: number, ...datagrams: string[]): Promise<void> => {
    expect(await inside('python3', '-c', program, JSON.stringify(datagrams), String(port))).toMatchObject({ code: 0, stderr: '' });
  };
  return { say: (...datagrams) => sayTo(6666, ...datagrams), sayTo, inside };
}

test("the bootloaders' logs are in the timelines of their boards, although all have one address and the port is taken", async () => {
  await using lab = await startLab('netconsole', ['--mode', 'full', '--subnet', subnet]);
  await publishTestImage(lab.state);
  for (const [name, ...flags] of [
    ['red5', '--serial', serial, '--mac', mac],
    ['red6', '--serial', '00000006', '--mac', 'b8:27:eb:00:00:06'],
  ] as const) {
    expect((await cardless(['--state', lab.state, 'node', 'add', name, ...flags])).code).toBe(0);
  }
  const red5 = await addBoard(lab, mac, '10.78.0.20');
  const red6 = await addBoard(lab, parseMac('b8:27:eb:00:00:06'), '10.78.0.21');
  const stranger = await addBoard(lab, parseMac('b8:27:eb:00:00:07'), '10.78.0.22');

  // Another program on this machine that has the port does not take the lines away.
  const hold =
    "import socket, time\ns = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\ns.bind(('', 6666))\nprint('held', flush=True)\ntime.sleep(600)";
  const said: string[] = [];
  const holder = startChild(...lab.lab.inside('python3', ['-c', hold]), { graceMs: 1000, onLine: (line) => said.push(line) });
  await until(async () => Promise.resolve(said.includes('held')), 'the port to be taken');

  // Before the first DHCP packet there is no boot yet that this could belong to.
  await red5.say('RPi: BOOTLOADER release VERSION\r\n', 'Boot mode: NETWORK (02) ', 'order f4\r\n');
  await stranger.say('nobody knows me\n');
  await until(async () => (await serverLog(lab.server)).includes('nobody knows me'), "the stranger's line");
  const fetched = await red5.inside('curl', '-s', `tftp://10.78.0.1/${serial}/config.txt`);
  expect(fetched.stdout).toContain('kernel=kernel8.img');
  await red5.sayTo(6667, 'not to this port\n');
  await red5.say('\u001b[1mTFTP\u001b[0m config.txt\n');
  await red6.say('I am another board\n');

  const lines = async (): Promise<(string | undefined)[]> => {
    const events = (await lab.server.node('red5')).boot?.events ?? [];
    return events.filter(({ what }) => what === 'netconsole').map(({ detail }) => detail);
  };
  await until(async () => (await lines()).length === 3, "red5's lines");
  expect(await lines()).toEqual(['RPi: BOOTLOADER release VERSION', 'Boot mode: NETWORK (02) order f4', 'TFTP config.txt']);
  const shown = await cardless(['--state', lab.state, 'node', 'boots', 'red5']);
  expect(shown.stdout).toMatch(/firmware {3}netconsole {2}TFTP config\.txt$/m);
  expect(await serverLog(lab.server)).toMatch(/b8:27:eb:00:00:07.*nobody knows me|nobody knows me.*b8:27:eb:00:00:07/);
  await holder.stop();
});

test('with netconsolePort 0 nothing is heard, and the interface stays out of promiscuous mode', async () => {
  const config = join(await mkdtemp(join(tmpdir(), 'cardless-netconsole-')), 'cardless.yaml');
  const isPromiscuous = async (lab: TestLab): Promise<boolean> =>
    /promiscuity [1-9]/.test((await ran(...lab.lab.inside('ip', ['-d', 'link', 'show', 'br0']))).stdout);
  await writeFile(config, 'netconsolePort: 0\n');
  await using silent = await startLab('nonetconsole', ['--config', config]);
  expect(await isPromiscuous(silent)).toBe(false);
  await silent.server[Symbol.asyncDispose]();
  await writeFile(config, 'netconsolePort: 6666\n');
  await silent.server.start();
  expect(await isPromiscuous(silent)).toBe(true);
});
