import { describe, expect, test } from 'vitest';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { parseMac } from '#src/domain/mac.ts';
import { parseSerial } from '#src/domain/serial.ts';
import { readTftpPath } from '#src/policy/tftp-path.ts';
import type { FileAnswer } from '#src/servers/tftp/tftp-server.ts';
import { bootPi3, type PiBoot, type SimEvent } from '#src/sim/pi3-rom.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { MemoryNetwork } from '../support/memory-network.ts';
import { boardAddress, serverAddress, startDhcp, startTftp } from '../support/servers.ts';

const config = [
  'arm_64bit=1',
  'kernel=kernel8.img',
  'initramfs initramfs.img followkernel',
  '[pi4]',
  'dtoverlay=only-on-4',
  '[pi3+]',
  'dtoverlay=disable-wifi,x=1',
  '[all]',
  '',
].join('\n');
const files: Readonly<Record<string, Buffer>> = {
  'bootcode.bin': Buffer.alloc(52_000, 1),
  'start.elf': Buffer.alloc(70_000, 2),
  'fixup.dat': Buffer.alloc(7000, 3),
  'config.txt': Buffer.from(config),
  'cmdline.txt': Buffer.from('console=ttyS1 cardless.token=x\n'),
  'bcm2710-rpi-3-b-plus.dtb': Buffer.alloc(1024, 4),
  'overlays/disable-wifi.dtbo': Buffer.alloc(100, 5),
  'initramfs.img': Buffer.alloc(3001, 6),
  'kernel8.img': Buffer.alloc(90_112, 7),
};

async function boot(options: {
  known?: boolean;
  answer?: (path: string, serial: string | undefined) => FileAnswer;
  mode?: 'full' | 'proxy';
}): Promise<{ result?: PiBoot; error?: Error; events: SimEvent[]; asked: string[]; seconds: number }> {
  const network = new MemoryNetwork(new FakeClock());
  const asked: string[] = [];
  startDhcp(network, options.mode ?? 'full', options.known ?? true);
  startTftp(network, (filename) => {
    asked.push(filename);
    const name = readTftpPath(filename);
    if (name.kind === 'refused') {
      return name;
    }
    const bytes = files[name.path];
    return options.answer?.(name.path, name.serial) ?? (bytes ? { kind: 'found', bytes } : { kind: 'missing', expected: true });
  });
  if (options.mode === 'proxy') {
    addRouter(network);
  }
  const events: SimEvent[] = [];
  let result: PiBoot | undefined;
  let error: Error | undefined;
  const simNetwork = {
    clock: network.clock,
    openUdp: network.open.bind(network),
    setAddress: () => Promise.resolve(),
  };
  void bootPi3({
    mac: parseMac('b8:27:eb:6c:4c:16'),
    serial: parseSerial('b66c4c16'),
    network: simNetwork,
    onEvent: (event) => events.push(event),
    signal: new AbortController().signal,
  }).then(
    (booted) => {
      result = booted;
    },
    (thrown: Error) => {
      error = thrown;
    },
  );
  await network.clock.run(() => result !== undefined || error !== undefined);
  return { events, asked, seconds: network.clock.now() / 1000, ...(result ? { result } : {}), ...(error ? { error } : {}) };
}

/** The home router: gives an address and knows nothing of booting. Built by hand, so that our codec is not its judge. */
function addRouter(network: MemoryNetwork): void {
  const router = parseIpv4('10.77.0.254');
  const endpoint = network.open(router, 67, (data) => {
    const reply = Buffer.alloc(300);
    data.copy(reply, 0, 0, 44);
    reply[0] = 2;
    reply.set([10, 77, 0, 20], 16);
    reply.set([0x63, 0x82, 0x53, 0x63, 53, 1, 2, 54, 4, 10, 77, 0, 254, 1, 4, 255, 255, 255, 0, 255], 236);
    endpoint.send(reply, { address: parseIpv4('255.255.255.255'), port: 68 });
  });
}

describe('a Raspberry Pi 3B+ against our servers', () => {
  test('gets to the kernel with exactly the bytes that are served', async () => {
    const { result } = await boot({});
    expect(result).toMatchObject({ address: boardAddress, server: serverAddress, complaints: [] });
    expect(result?.kernel.equals(files['kernel8.img'] ?? Buffer.alloc(0))).toBe(true);
    expect(result?.initramfs.length).toBe(3001);
    expect(result?.commandLine).toMatch(/^smsc95xx\.macaddr=B8:27:EB:6C:4C:16 .* console=ttyS1 cardless\.token=x$/);
    expect([...(result?.overlays.keys() ?? [])]).toEqual(['disable-wifi']);
  });
  test('asks in the order of the captures', async () => {
    const { asked, events } = await boot({});
    expect(asked.slice(0, 10)).toEqual([
      'bootcode.bin',
      'bootsig.bin',
      'b66c4c16/start.elf',
      'b66c4c16/start.elf',
      'b66c4c16/autoboot.txt',
      'b66c4c16/config.txt',
      'b66c4c16/recovery.elf',
      'b66c4c16/start.elf',
      'b66c4c16/fixup.dat',
      'b66c4c16/recovery.elf',
    ]);
    expect(asked.at(-1)).toBe('b66c4c16/kernel8.img');
    expect(events.filter((event) => event.kind === 'discover')).toHaveLength(2);
  });
  test('takes its address from the router and its files from us in proxy mode', async () => {
    const { result } = await boot({ mode: 'proxy' });
    expect(result).toMatchObject({ address: boardAddress, server: serverAddress, complaints: [] });
  });
  test('without its directory it reads everything from the root', async () => {
    const { result, asked } = await boot({
      answer: (path, serial) =>
        serial === undefined ? { kind: 'found', bytes: files[path] ?? Buffer.from('x') } : { kind: 'missing', expected: false },
    });
    expect(result?.kernel.length).toBe(90_112);
    expect(asked.filter((name) => name.startsWith('b66c4c16/'))).toHaveLength(1);
  });
  test('gives up after five DISCOVERs, 25 seconds, when nobody knows it', async () => {
    const { error, events, seconds } = await boot({ known: false });
    expect(error?.message).toMatch(/no DHCP server made a usable offer in 5 attempts/);
    expect(events).toHaveLength(5);
    expect(seconds).toBe(25);
  });
  test('says which file it needs', async () => {
    const { error } = await boot({
      answer: (path) =>
        path === 'kernel8.img' ? { kind: 'missing', expected: false } : { kind: 'found', bytes: files[path] ?? Buffer.from('x') },
    });
    expect(error?.message).toBe('The board needs kernel8.img and did not get it');
  });
  test('notices a config.txt that changes between two reads', async () => {
    let reads = 0;
    const { result } = await boot({
      answer: (path) => {
        if (path === 'config.txt') {
          reads += 1;
        }
        return { kind: 'found', bytes: path === 'config.txt' ? Buffer.from(`${config}# ${reads}`) : (files[path] ?? Buffer.from('x')) };
      },
    });
    expect(result?.complaints).toContain('config.txt differed between two reads of one boot');
  });
});
