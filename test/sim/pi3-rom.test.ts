import { describe, expect, test } from 'vitest';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { boardAddress, serverAddress } from '../support/servers.ts';
import { addRouter, piFiles, play } from '../support/sim-boards.ts';

describe('a Raspberry Pi 3B+ against our servers', () => {
  test('gets to the kernel with exactly the bytes that are served', async () => {
    const { result } = await play('pi3b+');
    expect(result).toMatchObject({ booted: true, violations: [], boot: { address: boardAddress, server: serverAddress } });
    const files = result.boot?.files;
    expect(files?.kernel.equals(piFiles['kernel8.img'] ?? Buffer.alloc(0))).toBe(true);
    expect(files?.initramfs.length).toBe(3001);
    expect(files?.commandLine).toMatch(/^smsc95xx\.macaddr=B8:27:EB:.{8} .* console=ttyS1 cardless\.token=x$/);
    expect([...(files?.overlays.keys() ?? [])]).toEqual(['disable-wifi']);
  });
  test('asks in the order of the captures', async () => {
    const { asked, events, result } = await play('pi3b+');
    const { serial } = result;
    expect(asked.slice(0, 10)).toEqual([
      'bootcode.bin',
      'bootsig.bin',
      `${serial}/start.elf`,
      `${serial}/start.elf`,
      `${serial}/autoboot.txt`,
      `${serial}/config.txt`,
      `${serial}/recovery.elf`,
      `${serial}/start.elf`,
      `${serial}/fixup.dat`,
      `${serial}/recovery.elf`,
    ]);
    expect(asked.at(-1)).toBe(`${serial}/kernel8.img`);
    expect(events.filter((event) => event.kind === 'discover')).toHaveLength(2);
  });
  test('takes its address from the router and its files from us in proxy mode', async () => {
    const { result } = await play('pi3b+', { mode: 'proxy', setUp: addRouter });
    expect(result).toMatchObject({ violations: [], boot: { address: boardAddress, server: serverAddress } });
  });
  test('without its directory it reads everything from the root', async () => {
    const { result, asked } = await play('pi3b+', {
      answer: (_path, prefix) => (prefix === undefined ? undefined : { kind: 'missing', expected: false }),
    });
    expect(result.boot?.kernelBytes).toBe(90_112);
    expect(asked.filter((name) => name.includes('/') && !name.startsWith('overlays/'))).toHaveLength(1);
  });
  test('gives up after five DISCOVERs, 25 seconds, when nobody knows it', async () => {
    const { result, events, seconds } = await play('pi3b+', { known: false });
    expect(result.failure).toMatch(/no DHCP server made a usable offer in 5 attempts/);
    expect(events).toHaveLength(5);
    expect(seconds).toBe(25);
  });
  test('says which file it needs', async () => {
    const { result } = await play('pi3b+', {
      answer: (path) => (path === 'kernel8.img' ? { kind: 'missing', expected: false } : undefined),
    });
    expect(result.failure).toMatch(/^The board needs kernel8.img and did not get it/);
  });
});

describe('the mask ROM of a 3B', () => {
  test('goes on when a further frame comes later than a second after its DISCOVER', async () => {
    const { result, events } = await play('pi3b');
    expect(result).toMatchObject({ booted: true, violations: [] });
    expect(events.filter((event) => event.kind === 'discover' && event.stage === 'rom')).toHaveLength(1);
  });
  /** A server that answers once, at once, which every other client is happy with. */
  const answerOnce = (options: readonly number[], hops = 0) => ({
    withoutServers: true,
    setUp: (network: Parameters<typeof addRouter>[0]): void => {
      const endpoint = network.open(serverAddress, 67, (data) => {
        const reply = Buffer.alloc(400);
        data.copy(reply, 0, 0, 44);
        reply[0] = 2;
        reply[3] = hops;
        reply.set([10, 77, 0, 20], 16);
        reply.set([0x63, 0x82, 0x53, 0x63, 53, 1, 2, 54, 4, 10, 77, 0, 1, ...options, 255], 236);
        endpoint.send(reply, { address: parseIpv4('255.255.255.255'), port: 68 });
        network.clock.after(1150, () =>
          options.length > 0 ? endpoint.send(reply, { address: parseIpv4('255.255.255.255'), port: 68 }) : undefined,
        );
        network.clock.after(600, () =>
          options.length > 0 ? endpoint.send(reply, { address: parseIpv4('255.255.255.255'), port: 68 }) : undefined,
        );
      });
    },
  });
  const text = (value: string): number[] => [43, value.length, ...Buffer.from(value)];
  test('never boots from one OFFER on a silent network', async () => {
    const once = answerOnce([]);
    const { result } = await play('pi3b', once);
    expect(result.failure).toMatch(/^rom: no DHCP server made a usable offer/);
  });
  test.each([
    ['three spaces', answerOnce(text('Raspberry Pi Boot   ')), 'bootcode'],
    ['no spaces', answerOnce(text('Raspberry Pi Boot')), 'rom'],
    ['a relay', answerOnce(text('Raspberry Pi Boot   '), 1), 'rom'],
  ])('offer with %s', async (_name, options, stageOfFailure) => {
    const { events } = await play('pi3b', options);
    const files = events.filter((event) => event.kind === 'file');
    expect(files.length > 0 ? 'bootcode' : 'rom').toBe(stageOfFailure);
  });
  test('hangs when two servers make different offers at once', async () => {
    const { result } = await play('pi3b', { setUp: addRouter });
    expect(result.failure).toMatch(/this ROM hangs/);
  });
});
