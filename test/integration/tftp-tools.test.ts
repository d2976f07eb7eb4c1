import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { projectRoot } from '#src/config/places.ts';
import { parseMac } from '#src/domain/mac.ts';
import { startChild } from '#src/process/supervise.ts';
import { encodeTftp } from '#src/protocol/tftp/packet.ts';
import { insideNamespace } from '#src/sim/lab.ts';
import { contentOf, publishBootFiles } from '../support/boot-files.ts';
import { cardless, type Ran, ran, startLab, type TestLab, until } from '../support/lab-server.ts';
import { type TftpRequest, type TftpTool, tftpTools } from '../support/tftp-tools.ts';

const serial = 'b66c4c16';
const mac = parseMac('b8:27:eb:6c:4c:16');
/** For transfers without options, whose blocks have 512 bytes. A multiple of that ends with an empty block. */
const sizes = [0, 1, 511, 512, 513, 1468 * 7, 131_072];
const sizesFor = (blksize: number): number[] => [0, 1, blksize - 1, blksize, blksize * 3, blksize * 3 + 1];
const blksizes = [...new Set(Object.values(tftpTools).flatMap((tool) => tool.blksizes))];
/** Block numbers begin again after 65,535. */
const rollOverSize = (blksize: number): number => 66_000 * blksize;
const lossySize = 60_000;
/** A kernel. At 512 bytes a block this is more than 65,535 of them as well. */
const kernelSize = 40_000_000;
const text = 'one\ntwo\r\n\rthree';
const names = Object.keys(tftpTools);

let lab: TestLab;
let namespace: string;
let work: string;

beforeAll(async () => {
  lab = await startLab('tftp');
  const rollOver = Object.values(tftpTools).flatMap((tool) => tool.blksizes.slice(0, 1).map(rollOverSize));
  const all = [...sizes, ...blksizes.flatMap(sizesFor), ...rollOver, lossySize, kernelSize];
  await publishBootFiles(lab.state, [...new Set(all)], { 'text.txt': Buffer.from(text) });
  await cardless(['--state', lab.state, 'node', 'add', 'red5', '--serial', serial, '--mac', mac, '--ip', '10.78.0.20']);
  namespace = await lab.lab.addBoard(mac);
  await ran('ip', ['-n', namespace, 'address', 'add', '10.78.0.20/24', 'dev', 'eth0']);
  work = await mkdtemp(join(lab.state, 'got-'));
});
afterAll(() => lab[Symbol.asyncDispose]());

const inside = (file: string, args: readonly string[]): Promise<Ran> => ran(...insideNamespace(namespace, file, args));

function toolOf(name: string): TftpTool {
  const tool = tftpTools[name];
  if (!tool) {
    throw new Error(`${name} is not a tool`);
  }
  return tool;
}

let fetched = 0;

function requestOf(name: string, options: Partial<TftpRequest> = {}): TftpRequest {
  fetched += 1;
  return { host: '10.78.0.1', port: 69, file: `${serial}/${name}`, local: join(work, String(fetched)), ...options };
}

/** What is wrong with a fetched file, in words; undefined when every byte is right. */
async function fetch(name: string, size: number, options: Partial<TftpRequest> = {}): Promise<string | undefined> {
  const request = requestOf(`size-${size}`, options);
  const said = await inside(...toolOf(name).get(request));
  const got = await readFile(request.local).catch(() => undefined);
  // Some make no file for nothing.
  if ((got ?? Buffer.alloc(0)).equals(contentOf(size)) && said.code === 0) {
    return undefined;
  }
  return `${size} bytes ${JSON.stringify(options)}: got ${got?.length ?? 'nothing'}, exit code ${said.code}, ${said.stdout} ${said.stderr}`;
}

async function fetchAll(name: string, wanted: readonly (readonly [number, Partial<TftpRequest>])[]): Promise<string[]> {
  const wrong: string[] = [];
  for (const [size, options] of wanted) {
    const complaint = await fetch(name, size, options);
    if (complaint !== undefined) {
      wrong.push(complaint);
    }
  }
  return wrong;
}

describe.each(names)('%s', (name) => {
  const tool = toolOf(name);
  const [smallest] = tool.blksizes;
  test('files of every size without options', async () => {
    expect(
      await fetchAll(
        name,
        sizes.map((size) => [size, {}] as const),
      ),
    ).toEqual([]);
  });
  if (smallest !== undefined) {
    test(`files of every size, block sizes ${tool.blksizes.join(', ')}`, async () => {
      const all = tool.blksizes.flatMap((blksize) => sizesFor(blksize).map((size) => [size, { blksize }] as const));
      const possible = all.filter(([size]) => size > 0 || tool.refusesEmptyFiles !== true);
      expect(await fetchAll(name, possible)).toEqual([]);
    });
    test(`more than 65,535 blocks of ${smallest} bytes`, async () => {
      expect(await fetch(name, rollOverSize(smallest), { blksize: smallest })).toBeUndefined();
    });
  }
  if (tool.windowsizes.length > 0) {
    test(`window sizes ${tool.windowsizes.join(', ')}`, async () => {
      const all = tool.windowsizes.flatMap((windowsize) => sizes.map((size) => [size, { blksize: 1468, windowsize }] as const));
      expect(await fetchAll(name, all)).toEqual([]);
    });
  }
  test('a kernel of 40 MB', async () => {
    expect(await fetch(name, kernelSize, smallest === undefined ? {} : { blksize: 1468 })).toBeUndefined();
  });
  test('what is missing is error 1, writing is refused with error 2', async () => {
    const missing = await inside(...tool.get(requestOf('nothing-like-it')));
    expect(missing.stdout + missing.stderr).toMatch(tool.missing);
    const local = join(work, 'to-write');
    await writeFile(local, 'mine');
    const written = await inside(...tool.put(requestOf('size-1', { local })));
    expect(written.stdout + written.stderr).toMatch(tool.refused);
    expect(await fetch(name, 1)).toBeUndefined();
  });
});

describe('netascii', () => {
  const [wire, url] = ['one\r\ntwo\r\0\r\n\r\0three', `tftp://10.78.0.1/${serial}/text.txt;mode=netascii`];
  test('tftp-hpa has the text back as it was', async () => {
    const local = join(work, 'text');
    await inside('tftp', ['-m', 'netascii', '10.78.0.1', '-c', 'get', `${serial}/text.txt`, local]);
    expect(await readFile(local, 'latin1')).toBe(text);
  });
  test('curl, which leaves it as it came, has CR LF for a line end and CR NUL for a CR (RFC 764)', async () => {
    const local = join(work, 'wire');
    expect((await inside('curl', ['-sS', '-o', local, url])).stderr).toBe('');
    expect(await readFile(local, 'latin1')).toBe(wire);
  });
});

describe('a link that loses, repeats and swaps one datagram in a hundred each', () => {
  test.concurrent.each(names)('%s has every byte', async (name) => {
    const port = 7000 + names.indexOf(name);
    const lines: string[] = [];
    const args = [join(projectRoot, 'test/support/lossy-relay.ts'), String(port), '10.78.0.1', '0.01', '0.01', '0.01', '7'];
    const link = startChild(...insideNamespace(namespace, process.execPath, args), { graceMs: 5000, onLine: (line) => lines.push(line) });
    await until(() => Promise.resolve(lines.includes('ready')), 'the relay');
    const options = toolOf(name).blksizes.length > 0 ? { blksize: 1024 } : {};
    const complaint = await fetch(name, lossySize, { ...options, host: '127.0.0.1', port });
    await link.stop();
    expect(complaint).toBeUndefined();
    const totals: unknown = JSON.parse(lines.at(-1) ?? '');
    expect(totals).toMatchObject({ lost: expect.toSatisfy(Number.isInteger) });
    process.stdout.write(`${name} over the bad link: ${lines.at(-1)}\n`);
  });
});

describe('names that try to leave the tree', () => {
  const rrq = (filename: string): string => encodeTftp({ kind: 'rrq', filename, mode: 'octet', options: [] }).toString('hex');
  const raw = (packet: string): string => Buffer.from(packet, 'latin1').toString('hex');
  const tricks: readonly (readonly [string, string])[] = [
    ['../state.db', rrq('../state.db')],
    ['serial and two steps up', rrq(`${serial}/../../state.db`)],
    ['an absolute name', rrq('/etc/passwd')],
    ['doubled slashes', rrq('//etc//passwd')],
    ['backslashes', rrq('..\\..\\state.db')],
    ['a drive', rrq('C:\\etc\\passwd')],
    ['dots in the middle', rrq(`${serial}/size-1/../../../state.db`)],
    ['percent signs', rrq(`${serial}/%2e%2e/%2e%2e/state.db`)],
    ['the manifest beside the boot files', rrq(`${serial}/../manifest.json`)],
    ['the root image', rrq(`${serial}/root.img`)],
    ['a directory', rrq(`${serial}/`)],
    ['no name', rrq('')],
    ['a dot', rrq('.')],
    ['400 characters', rrq('a'.repeat(400))],
    ['5,000 characters', rrq('../'.repeat(1700))],
    ['control characters', rrq(`${serial}/size-1\n`)],
    ['bytes above ASCII', rrq(`${serial}/size-1\u00ff`)],
    ['a NUL inside the name', raw(`\0\x01${serial}/size-1\0.txt\0octet\0`)],
    ['a NUL before steps up', raw(`\0\x01${serial}/size-1\0../../state.db\0`)],
    ['no NUL at the end', raw(`\0\x01${serial}/size-1\0octet`)],
  ];
  const ask = async (packets: readonly string[]): Promise<string[]> => {
    const asked = await inside(process.execPath, [join(projectRoot, 'test/support/udp-ask.ts'), '10.78.0.1', '69', ...packets]);
    return asked.stdout.trim().split('\n');
  };
  test(`${tricks.length} of them: an error, or silence where it is not even a packet; never a file`, async () => {
    const answers = await ask(tricks.map(([, packet]) => packet));
    expect(answers).toHaveLength(tricks.length);
    // ERROR with code 1, 2 or 4.
    const wrong = tricks.map(([what], index) => `${what}: ${answers[index]}`).filter((line) => !/: (silence|0005000[124]\w*)$/.test(line));
    expect(wrong).toEqual([]);
  });
  test('the same question with an honest name is answered', async () => {
    expect(await ask([rrq(`${serial}/size-1`)])).toEqual([`00030001${contentOf(1).toString('hex')}`]);
  });
});
