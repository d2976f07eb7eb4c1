import { readdirSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';
import { projectRoot } from '#src/config/places.ts';
import { parseMac } from '#src/domain/mac.ts';
import { decodeDhcp, encodeDhcp } from '#src/protocol/dhcp/message.ts';
import { encodeTftp, type TftpOption } from '#src/protocol/tftp/packet.ts';
import { insideNamespace } from '#src/sim/lab.ts';
import { contentOf, publishBootFiles } from '../support/boot-files.ts';
import { capture } from '../support/captures.ts';
import { type Flooded, flood } from '../support/flood.ts';
import { cardless, inLab, ran, startLab, subnet, type TestLab } from '../support/lab-server.ts';

const packets = 1_000_000;
const hostileRequests = 100_000;
const fileSize = 3000;
const largeSize = 200_000;
/** Of the honest client's node; the captures have others. */
const serial = '0badcafe';
const honestMac = '52:54:00:00:05:01';
const minutes = 60_000;

/** Every packet would be a line of the log, kept by this process. */
const flags = ['--mode', 'full', '--subnet', subnet, '--log-level', 'error'];

const captures = readdirSync(join(projectRoot, 'test/captures'))
  .filter((name) => name.endsWith('.hex'))
  .map((name) => capture(name.slice(0, -4)));

/** The captures, and what the same clients say later: every message type, with address, server and relay. */
function dhcpCorpus(): Buffer[] {
  const built = captures.flatMap((bytes) => {
    const message = decodeDhcp(bytes);
    return [3, 4, 7, 8].map((type) =>
      encodeDhcp({
        ...message,
        ciaddr: message.yiaddr,
        options: [
          { code: 53, data: Buffer.from([type]) },
          { code: 50, data: Buffer.from([10, 78, 0, 140]) },
          { code: 54, data: Buffer.from([10, 78, 0, 1]) },
          { code: 61, data: Buffer.concat([Buffer.from([1]), message.chaddr.subarray(0, 6)]) },
          { code: 82, data: Buffer.from('010474657374', 'hex') },
          ...message.options.filter((option) => option.code !== 53 && option.code !== 50),
        ],
      }),
    );
  });
  return [...captures, ...built];
}

function tftpCorpus(): Buffer[] {
  const option = (name: string, value: string): TftpOption => ({ name, value });
  const asks = [[], [option('tsize', '0')], [option('blksize', '1468'), option('windowsize', '16')], [option('timeout', '1')]];
  const names = [`${serial}/size-${fileSize}`, `${serial}//config.txt`, 'nothing', '../state.db', `/${serial}/start.elf`];
  return [
    ...names.flatMap((filename) => asks.map((options) => encodeTftp({ kind: 'rrq', filename, mode: 'octet', options }))),
    encodeTftp({ kind: 'rrq', filename: `${serial}/size-${fileSize}`, mode: 'netascii', options: [] }),
    encodeTftp({ kind: 'wrq', filename: 'x', mode: 'octet', options: [] }),
    ...[0, 1, 2, 65_535].map((block) => encodeTftp({ kind: 'ack', block })),
    encodeTftp({ kind: 'data', block: 1, data: Buffer.alloc(512) }),
    encodeTftp({ kind: 'error', code: 0, message: 'Early terminate' }),
    encodeTftp({ kind: 'oack', options: [option('blksize', '512')] }),
  ];
}

/** What keeps the server busiest: whole windows for a client that never says a word again. */
function greedyRequests(own: string): Buffer[] {
  const filename = `${own}/size-${largeSize}`;
  const window = [
    { name: 'blksize', value: '1468' },
    { name: 'windowsize', value: '64' },
  ];
  return [[], window].map((options) => encodeTftp({ kind: 'rrq', filename, mode: 'octet', options }));
}

/** What the kernel threw away because the server did not come to read it. */
async function dropped(lab: TestLab, port: number): Promise<number> {
  const table = (await inLab(lab.lab, 'cat', '/proc/net/udp')).stdout.split('\n').map((line) => line.trim().split(/\s+/));
  const hex = `:${port.toString(16).toUpperCase().padStart(4, '0')}`;
  const counts = table.filter((row) => row[1]?.endsWith(hex)).map((row) => Number(row.at(-1)));
  expect(counts.length).toBeGreaterThan(0);
  return counts.reduce((sum, count) => sum + count, 0);
}

const Status = z.object({ pid: z.number(), badPackets: z.object({ badDhcp: z.number(), badTftp: z.number() }) });

/**
 * What a server holds has a ceiling, which it finds in the first 60 %: V8 lets its heap grow and shrink for a while. What is
 * retained has none: one packet of 300 bytes each would be 114 MiB in the last 40 %.
 */
const breathMib = 96;

function expectFlat(what: string, done: Flooded, lost: number): void {
  const mib = done.residentKib.map((kib) => Math.round(kib / 1024));
  process.stdout.write(
    `${what}: ${done.packets} packets in ${done.seconds} s, ${lost} lost before the server read them; ${done.served} honest exchanges served ` +
      `with ${done.retries} repetitions; resident MiB at every tenth: ${mib.join(' ')}\n`,
  );
  expect(Math.max(...mib.slice(7)) - Math.max(...mib.slice(0, 7))).toBeLessThanOrEqual(breathMib);
}

async function floodLab(name: string): Promise<{ lab: TestLab; namespace: string; pid: number; file: string }> {
  const lab = await startLab(name, flags);
  await publishBootFiles(lab.state, [fileSize, largeSize]);
  const file = join(lab.state, 'wanted');
  await writeFile(file, contentOf(fileSize));
  const add = (...args: string[]): ReturnType<typeof cardless> => cardless(['--state', lab.state, 'node', 'add', ...args]);
  expect((await add('honest', '--serial', serial, '--mac', honestMac, '--ip', '10.78.0.20')).stderr).toBe('');
  expect((await add('red5', '--serial', 'b66c4c16')).stderr).toBe('');
  const namespace = await lab.lab.addBoard(parseMac(honestMac));
  await ran('ip', ['-n', namespace, 'address', 'add', '10.78.0.20/24', 'dev', 'eth0']);
  const status = Status.parse(await lab.server.client.call('GET', '/status'));
  return { lab, namespace, pid: status.pid, file };
}

describe('a million mutated packets into the running server, whose honest clients are served all along', () => {
  test('DHCP', { timeout: 5 * minutes }, async () => {
    const { lab, namespace, pid } = await floodLab('fuzz-dhcp');
    await using _ = lab;
    const honest = [honestMac, '10.78.0.20'] as const;
    const common = { namespace, kind: 'dhcp', server: '10.78.0.1', seed: 20_261_121, packets, every: 100 } as const;
    const done = await flood({ ...common, serverPid: pid, corpus: dhcpCorpus(), honest });
    expectFlat('DHCP', done, await dropped(lab, 67));
    const after = Status.parse(await lab.server.client.call('GET', '/status'));
    expect(after.pid).toBe(pid);
    expect(after.badPackets.badDhcp).toBeGreaterThan(packets / 10);
  });
  test('TFTP', { timeout: 5 * minutes }, async () => {
    const { lab, namespace, pid, file } = await floodLab('fuzz-tftp');
    await using _ = lab;
    const honest = [`${serial}/size-${fileSize}`, file] as const;
    const common = { namespace, kind: 'tftp', server: '10.78.0.1', seed: 20_261_122, packets, every: 100 } as const;
    const done = await flood({ ...common, serverPid: pid, corpus: tftpCorpus(), honest });
    expectFlat('TFTP', done, await dropped(lab, 69));
    const after = Status.parse(await lab.server.client.call('GET', '/status'));
    expect(after.pid).toBe(pid);
    expect(after.badPackets.badTftp).toBeGreaterThan(packets / 10);
  });
});

describe('a hostile client', () => {
  test('opens 100,000 transfers from 180 addresses and acknowledges nothing: its cost is bounded, others read their files', async () => {
    const { lab, namespace, pid } = await floodLab('hostile');
    await using _ = lab;
    const [mac, own] = [parseMac('52:54:00:00:05:66'), '0bad0bad'];
    await cardless(['--state', lab.state, 'node', 'add', 'bad1', '--serial', own, '--mac', mac]);
    const hostile = await lab.lab.addBoard(mac);
    const addresses = Array.from({ length: 180 }, (_value, index) => `address add 10.78.0.${index + 60}/24 dev eth0`);
    const batch = join(lab.state, 'addresses');
    await writeFile(batch, `${addresses.join('\n')}\n`);
    expect((await ran('ip', ['-n', hostile, '-batch', batch])).stderr).toBe('');

    // It is a node like any other: what it asks for is really opened.
    const target = join(lab.state, 'got');
    const fetch = (board: string, owner: string): ReturnType<typeof ran> => {
      const url = `tftp://10.78.0.1/${owner}/size-${largeSize}`;
      return ran(...insideNamespace(board, 'curl', ['-sS', '-m', '20', '--tftp-blksize', '1468', '-o', target, url]));
    };
    expect((await fetch(hostile, own)).code).toBe(0);

    let isOver = false;
    const common = { namespace: hostile, kind: 'hostile', server: '10.78.0.1', seed: 20_261_123, every: 100 } as const;
    const over = (): void => {
      isOver = true;
    };
    const attack = flood({ ...common, packets: hostileRequests, serverPid: pid, corpus: greedyRequests(own), honest: ['-', '-'] });
    attack.then(over, over);
    let reads = 0;
    const wrong: string[] = [];
    do {
      const read = await fetch(namespace, serial);
      reads += 1;
      const isRight = read.code === 0 && (await readFile(target)).equals(contentOf(largeSize));
      if (!isRight) {
        wrong.push(`read ${reads}: curl exit code ${read.code} ${read.stderr}`);
      }
    } while (!isOver);
    const done = await attack;
    expectFlat('hostile', done, await dropped(lab, 69));
    process.stdout.write(`hostile: another board read ${reads} times ${largeSize} bytes meanwhile, ${wrong.length} of them wrong\n`);
    expect(wrong).toEqual([]);
    expect(Status.parse(await lab.server.client.call('GET', '/status')).pid).toBe(pid);
  });
});
