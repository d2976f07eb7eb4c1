import { describe, expect, test } from 'vitest';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { encodeTftp, TftpErrorCode } from '#src/protocol/tftp/packet.ts';
import type { FileAnswer } from '#src/servers/tftp/tftp-server.ts';
import { fetchFile } from '#src/sim/tftp-client.ts';
import { earlyTerminate } from '#src/sim/tftp-wire.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { type Faults, MemoryNetwork } from '../../support/memory-network.ts';
import { boardAddress, serverAddress, startTftp, type TestTftp } from '../../support/servers.ts';
import { simNetwork } from '../../support/sim-network.ts';

/** With the content in place of its check sum. */
type Fetched = { readonly kind: 'found'; readonly bytes: Buffer } | { readonly kind: 'probed' | 'missing' };

const content = Buffer.from(Array.from({ length: 40_000 }, (_, index) => (index * 7) % 256));
const files: Readonly<Record<string, FileAnswer>> = {
  kernel: { kind: 'found', bytes: content },
  empty: { kind: 'found', bytes: Buffer.alloc(0) },
  text: { kind: 'found', bytes: Buffer.from('one\ntwo\n') },
  secret: { kind: 'refused', reason: 'not yours' },
};
const read = (filename: string): FileAnswer => files[filename] ?? { kind: 'missing', expected: false };

function lab(faults?: Faults): { network: MemoryNetwork; tftp: TestTftp } {
  const network = new MemoryNetwork(new FakeClock(), faults);
  return { network, tftp: startTftp(network, read) };
}

async function fetch(
  network: MemoryNetwork,
  filename: string,
  options: { probe?: boolean; port?: number; tftpOptions?: string[] } = {},
): Promise<{ result: Fetched | undefined; complaints: string[] }> {
  const complaints: string[] = [];
  let result: Fetched | undefined;
  const [name, value = '0'] = options.tftpOptions ?? ['tsize', '0'];
  void fetchFile(simNetwork(network), {
    server: serverAddress,
    address: boardAddress,
    port: options.port ?? 49_152,
    filename,
    ask: name === undefined ? [] : [[name, value]],
    ...(options.probe === true ? { probe: earlyTerminate } : {}),
    timing: { silenceMs: 5000 },
    // Only a strict client stays a moment to see what comes too late.
    strictDuplicates: options.probe !== true,
    noWrap: false,
    keep: true,
    complain: (text) => complaints.push(text),
  }).then((fetched) => {
    result = fetched.kind === 'found' ? { kind: 'found', bytes: fetched.bytes ?? Buffer.alloc(0) } : fetched;
  });
  await network.clock.run(() => result !== undefined);
  return { result, complaints };
}

describe('Raspberry Pi firmware as the client', () => {
  test.each([['tsize', '0'], []])('a whole file (options: %j)', async (...tftpOptions) => {
    const { network, tftp } = lab();
    const { result, complaints } = await fetch(network, 'kernel', { tftpOptions: tftpOptions.filter((text) => text !== undefined) });
    expect(result).toEqual({ kind: 'found', bytes: content });
    expect(complaints).toEqual([]);
    await network.clock.run(() => tftp.reports.length > 0);
    expect(tftp.reports[0]?.outcome).toEqual({ kind: 'sent', bytes: content.length });
  });
  test('an empty file', async () => {
    expect((await fetch(lab().network, 'empty')).result).toEqual({ kind: 'found', bytes: Buffer.alloc(0) });
  });
  test('a probe learns the size and is no error', async () => {
    const { network, tftp } = lab();
    expect((await fetch(network, 'kernel', { probe: true })).result).toEqual({ kind: 'probed', size: content.length });
    await network.clock.run(() => tftp.reports.length > 0);
    expect(tftp.reports[0]?.outcome).toMatchObject({ kind: 'stopped', probe: true });
    expect(network.clock.pending).toBe(0);
  });
  test('what is missing is error 1 at once', async () => {
    const { network } = lab();
    expect((await fetch(network, 'nothing')).result).toEqual({ kind: 'missing', why: 'error 1 File not found' });
    expect(network.clock.now()).toBeLessThan(50);
  });
  test('what is refused is error 2, without a word about why', async () => {
    expect((await fetch(lab().network, 'secret')).result).toEqual({ kind: 'missing', why: 'error 2 Access violation' });
  });
});

describe('a bad network', () => {
  test.each(Array.from({ length: 20 }, (_, seed) => seed + 1))(
    '1 %% loss, duplicates and reordering, seed %i: every byte arrives',
    async (seed) => {
      const { network } = lab({ loss: 0.01, duplicate: 0.01, reorder: 0.01, seed });
      const { result } = await fetch(network, 'kernel');
      // The firmware takes five seconds of silence for "absent"; with our first repetition after one second that needs
      // three losses in a row.
      expect(result).toEqual({ kind: 'found', bytes: content });
    },
  );
  test('when every acknowledgement comes twice no block is sent twice', async () => {
    const { network } = lab({ loss: 0, duplicate: 1, reorder: 0, seed: 1 });
    const { result } = await fetch(network, 'kernel');
    expect(result).toEqual({ kind: 'found', bytes: content });
    // Doubling every packet: a block and its ACK, twice each, and the client's answer to the second copy, twice.
    expect(network.delivered).toBeLessThan(6 * (Math.ceil(content.length / 512) + 3));
  });
  test('a client that goes silent is given up after a minute, and nothing of it stays', async () => {
    const { network, tftp } = lab();
    const client = network.open(boardAddress, 49_152, () => {});
    client.send(encodeTftp({ kind: 'rrq', filename: 'kernel', mode: 'octet', options: [] }), { address: serverAddress, port: 69 });
    await network.clock.run(() => tftp.reports.length > 0);
    expect(tftp.reports[0]?.outcome).toEqual({ kind: 'timed-out', block: 1 });
    expect(network.clock.now()).toBeLessThan(90_000);
    expect(network.clock.pending).toBe(0);
  });
});

describe('requests', () => {
  const ask = async (network: MemoryNetwork, packets: Buffer[], port = 49_152): Promise<Buffer[]> => {
    const answers: Buffer[] = [];
    const client = network.open(boardAddress, port, (data) => answers.push(data));
    for (const packet of packets) {
      client.send(packet, { address: serverAddress, port: 69 });
    }
    await network.clock.run(() => false, 500);
    await client.close();
    return answers;
  };
  const rrq = (filename: string, mode = 'octet'): Buffer => encodeTftp({ kind: 'rrq', filename, mode, options: [] });

  test('asked again from the same port: one transfer, its packet again', async () => {
    const { network } = lab();
    const answers = await ask(network, [rrq('kernel'), rrq('kernel')]);
    let isLater = false;
    network.clock.after(2500, () => {
      isLater = true;
    });
    await network.clock.run(() => isLater);
    const more = await ask(network, [rrq('kernel')]);
    expect(answers).toHaveLength(1);
    expect(more).toEqual(answers);
  });
  test('another file from the same port replaces the first', async () => {
    const { network } = lab();
    await ask(network, [rrq('kernel')]);
    const [answer] = await ask(network, [rrq('empty')]);
    expect(answer).toEqual(encodeTftp({ kind: 'data', block: 1, data: Buffer.alloc(0) }));
  });
  test('writing is refused', async () => {
    const [answer] = await ask(lab().network, [encodeTftp({ kind: 'wrq', filename: 'x', mode: 'octet', options: [] })]);
    expect(answer?.readUInt16BE(2)).toBe(TftpErrorCode.AccessViolation);
  });
  test('netascii is a text with its line ends as they go over the wire', async () => {
    const [answer] = await ask(lab().network, [rrq('text', 'NetASCII')]);
    expect(answer).toEqual(encodeTftp({ kind: 'data', block: 1, data: Buffer.from('one\r\ntwo\r\n') }));
  });
  test('mode mail is refused', async () => {
    const [answer] = await ask(lab().network, [rrq('kernel', 'mail')]);
    expect(answer?.readUInt16BE(2)).toBe(TftpErrorCode.IllegalOperation);
  });
  test('when all places are taken nobody is told that a file is missing', async () => {
    const network = new MemoryNetwork(new FakeClock());
    startTftp(network, read, { maxTransfers: 1, maxTransfersPerClient: 1 });
    const held = network.open(parseIpv4('10.77.0.66'), 49_152, () => {});
    held.send(rrq('kernel'), { address: serverAddress, port: 69 });
    await network.clock.run(() => false, 100);
    expect(await ask(network, [rrq('empty')])).toEqual([]);
    held.send(encodeTftp({ kind: 'error', code: 0, message: 'stop' }), { address: serverAddress, port: 50_001 });
    await network.clock.run(() => false, 100);
    expect(await ask(network, [rrq('empty')])).toHaveLength(1);
  });
  test('when one machine has taken all places by many addresses, its oldest makes room for the others', async () => {
    const network = new MemoryNetwork(new FakeClock());
    startTftp(network, read, { maxTransfers: 8, maxTransfersPerClient: 4 });
    const told = new Map<string, number>();
    for (const [address, port] of [0, 1].flatMap((host) => [1, 2, 3, 4].map((port) => [`10.77.0.6${host}`, port] as const))) {
      const name = `${address}:${port}`;
      const greedy = network.open(parseIpv4(address), port, () => told.set(name, (told.get(name) ?? 0) + 1));
      greedy.send(rrq('kernel'), { address: serverAddress, port: 69 });
    }
    await network.clock.run(() => false, 100);
    expect(told.size).toBe(8);
    expect(await ask(network, [rrq('empty')])).toHaveLength(1);
    await network.clock.run(() => false, 5000);
    // One of the eight is gone: its first packet is not repeated any more.
    expect([...told.values()].filter((count) => count === 1)).toHaveLength(1);
  });
  test('garbage is counted and not answered', async () => {
    const { network, tftp } = lab();
    expect(await ask(network, [Buffer.alloc(0), Buffer.from([0]), Buffer.from([0, 9, 1]), Buffer.from('\0\u0001no-nul')])).toEqual([]);
    expect(tftp.bad).toHaveLength(4);
  });
  test('one client cannot hold more transfers than its share; the oldest gives way', async () => {
    const { network } = lab();
    for (let port = 40_000; port < 40_020; port += 1) {
      await network.clock.run(() => true);
      network.open(boardAddress, port, () => {}).send(rrq('kernel'), { address: serverAddress, port: 69 });
    }
    await network.clock.run(() => false, 500);
    expect(network.clock.pending).toBeLessThanOrEqual(8);
  });
  test('a stranger can neither advance nor end a transfer', async () => {
    const { network } = lab();
    let transferPort = 0;
    const answers: Buffer[] = [];
    const client = network.open(boardAddress, 49_152, (data, peer) => {
      answers.push(data);
      transferPort = peer.port;
    });
    client.send(rrq('kernel'), { address: serverAddress, port: 69 });
    await network.clock.run(() => answers.length > 0);
    const strange: Buffer[] = [];
    const stranger = network.open(parseIpv4('10.77.0.66'), 49_152, (data) => strange.push(data));
    stranger.send(encodeTftp({ kind: 'ack', block: 1 }), { address: serverAddress, port: transferPort });
    stranger.send(encodeTftp({ kind: 'error', code: 0, message: 'stop' }), { address: serverAddress, port: transferPort });
    await network.clock.run(() => false, 100);
    expect(strange.map((packet) => packet.readUInt16BE(2))).toEqual([TftpErrorCode.UnknownTransferId]);
    expect(answers).toHaveLength(1);
    client.send(encodeTftp({ kind: 'ack', block: 1 }), { address: serverAddress, port: transferPort });
    await network.clock.run(() => answers.length > 1);
    expect(answers[1]?.readUInt16BE(2)).toBe(2);
  });
});
