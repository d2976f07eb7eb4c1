import { createHash, createPublicKey, createVerify, generateKeyPairSync } from 'node:crypto';
import { mkdir, mkdtemp, readdir, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseMac } from '#src/domain/mac.ts';
import { insideNamespace } from '#src/sim/lab.ts';
import { cardless, publishTestImage, ran, serverLog, startLab, subnet, type TestLab } from '../support/lab-server.ts';

const serial = 'b66c4c16';
const mac = parseMac('b8:27:eb:6c:4c:16');
const url = 'http://10.78.0.1:8067';

interface Board {
  readonly lab: TestLab;
  readonly bootFiles: string;
  readonly scratch: string;
  inside(file: string, ...args: string[]): ReturnType<typeof ran>;
  /** Status and body, as curl gets it. */
  fetch(from: string, ...args: string[]): Promise<{ readonly status: string; readonly body: Buffer }>;
}

async function startBoard(stack: AsyncDisposableStack, name: string, settings: string): Promise<Board> {
  const scratch = await mkdtemp(join(tmpdir(), 'cardless-pi-boot-'));
  const config = join(scratch, 'cardless.yaml');
  await writeFile(config, settings);
  const lab = stack.use(await startLab(name, ['--mode', 'full', '--subnet', subnet, '--config', config]));
  const digest = await publishTestImage(lab.state);
  await cardless(['--state', lab.state, 'node', 'add', 'red5', '--serial', serial, '--mac', mac, '--ip', '10.78.0.20']);
  const namespace = await lab.lab.addBoard(mac);
  const inside = (file: string, ...args: string[]): ReturnType<typeof ran> => ran(...insideNamespace(namespace, file, args));
  await inside('ip', 'address', 'add', '10.78.0.20/24', 'dev', 'eth0');
  const fetch = async (from: string, ...args: string[]): ReturnType<Board['fetch']> => {
    const target = join(scratch, 'got');
    await writeFile(target, '');
    const { stdout } = await inside('curl', '-s', '-o', target, '-w', '%{response_code}', ...args, from);
    return { status: stdout, body: await readFile(target) };
  };
  return { lab, bootFiles: join(lab.state, 'images', digest, 'boot'), scratch, inside, fetch };
}

/** Every file of a FAT image, read by mtools. */
async function unpack(board: Board, image: Buffer): Promise<Map<string, Buffer>> {
  const file = join(board.scratch, 'boot.img');
  const folder = await mkdtemp(join(board.scratch, 'unpacked-'));
  await writeFile(file, image);
  expect(await ran('fsck.vfat', ['-n', file])).toMatchObject({ code: 0 });
  expect(await ran('mcopy', ['-s', '-i', file, '::', folder])).toMatchObject({ code: 0 });
  const found = new Map<string, Buffer>();
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) {
      found.set(entry.name, await readFile(join(entry.parentPath, entry.name)));
    }
  }
  return found;
}

describe('HTTP boot of a Raspberry Pi', () => {
  test('boot.sig, then boot.img: signed with the key, whole, the same at every read, for this board alone', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
    const keyFolder = await mkdtemp(join(tmpdir(), 'cardless-key-'));
    const keyFile = join(keyFolder, 'boot-key.pem');
    await writeFile(keyFile, privateKey.export({ type: 'pkcs1', format: 'pem' }));
    await using stack = new AsyncDisposableStack();
    const board = await startBoard(stack, 'pihttp', `bootKey: ${keyFile}\n`);

    const signature = await board.fetch(`${url}/pi/boot.sig`);
    expect(signature.status).toBe('200');
    const head = await board.inside('curl', '-sI', `${url}/pi/boot.img`);
    const image = await board.fetch(`${url}/pi/boot.img`);
    expect(image.status).toBe('200');
    expect(head.stdout).toMatch(/^HTTP\/1\.1 200/);
    expect(head.stdout.toLowerCase()).toContain(`content-length: ${image.body.length}\r\n`.trim());
    expect(head.stdout.toLowerCase()).toContain('accept-ranges: bytes');

    const [digest, time, rsa = ''] = signature.body.toString().split('\n');
    expect(digest).toBe(createHash('sha256').update(image.body).digest('hex'));
    expect(time).toMatch(/^ts: \d{10}$/);
    const rsaBytes = Buffer.from(rsa.replace(/^rsa2048: /, ''), 'hex');
    const publicPem = createPublicKey(publicKey.export({ type: 'spki', format: 'pem' }));
    expect(createVerify('sha256').update(image.body).verify(publicPem, rsaBytes)).toBe(true);

    const part = await board.fetch(`${url}/pi/boot.img`, '-r', '1000000-1000999');
    expect(part.status).toBe('206');
    expect(part.body.equals(image.body.subarray(1_000_000, 1_001_000))).toBe(true);
    expect((await board.fetch(`${url}/pi/boot.img`, '-r', '99999999-')).status).toBe('416');
    for (const path of [
      `/pi/${serial}/boot.img`,
      '//pi//boot.img',
      `/pi/${serial}//boot.img`,
      `/pi/${mac.replaceAll(':', '-')}/boot.img`,
    ]) {
      expect((await board.fetch(`${url}${path}`, '--path-as-is')).body.equals(image.body)).toBe(true);
    }

    // What was made can be made again: the session is on disk, the files are not kept.
    await board.lab.server.crash();
    await board.lab.server.start();
    expect((await board.fetch(`${url}/pi/boot.sig`)).body.equals(signature.body)).toBe(true);
    expect((await board.fetch(`${url}/pi/boot.img`)).body.equals(image.body)).toBe(true);

    const files = await unpack(board, image.body);
    const names = await readdir(board.bootFiles);
    expect([...files.keys()].toSorted()).toEqual([...names, 'cmdline.txt', 'config.txt'].toSorted());
    for (const name of names) {
      expect(files.get(name)?.equals(await readFile(join(board.bootFiles, name)))).toBe(true);
    }
    const cmdline = files.get('cmdline.txt')?.toString() ?? '';
    expect(cmdline).toContain(`BOOTIF=01-${mac.replaceAll(':', '-')}`);
    const node = await board.lab.server.node('red5');
    expect(node.state).toBe('kernel');
    expect(node.boot?.events.map(({ detail }) => detail)).toContain(`boot.img ${image.body.length} bytes by http`);

    const stranger = await board.lab.lab.addBoard(parseMac('52:54:00:66:66:66'));
    const asStranger = (...args: string[]): ReturnType<typeof ran> => ran(...insideNamespace(stranger, args[0] ?? '', args.slice(1)));
    await asStranger('ip', 'address', 'add', '10.78.0.66/24', 'dev', 'eth0');
    const status = async (path: string): Promise<string> =>
      (await asStranger('curl', '-s', '-o', '/dev/null', '-w', '%{response_code}', `${url}${path}`)).stdout;
    expect(await status(`/pi/${serial}/boot.img`)).toBe('403');
    expect(await status('/pi/boot.img')).toBe('404');
    expect(await status('/pi/config.txt')).toBe('404');
  });

  test('without a key boot.img is served, and boot.sig is missed aloud', async () => {
    await using stack = new AsyncDisposableStack();
    const board = await startBoard(stack, 'pinokey', '');
    expect((await board.fetch(`${url}/pi/boot.sig`)).status).toBe('404');
    expect((await board.fetch(`${url}/pi/boot.img`)).status).toBe('200');
    expect(await serverLog(board.lab.server)).toContain('the setting bootKey is missing');
  });

  test('a key that boards cannot use stops the server with what to do', async () => {
    const folder = await mkdtemp(join(tmpdir(), 'cardless-key-'));
    await mkdir(join(folder, 'state'));
    const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 3072 });
    await writeFile(join(folder, 'key.pem'), privateKey.export({ type: 'pkcs8', format: 'pem' }));
    await writeFile(join(folder, 'cardless.yaml'), `bootKey: ${join(folder, 'key.pem')}\n`);
    const { code, stderr } = await cardless([
      '--state',
      join(folder, 'state'),
      'up',
      '--no-network',
      '--config',
      join(folder, 'cardless.yaml'),
    ]);
    expect(code).toBe(2);
    expect(stderr).toContain('is rsa of 3072 bits');
    expect(stderr).toContain('openssl genrsa -out boot-key.pem 2048');
  });
});

test('boot_ramdisk over TFTP: config.txt leads to one file that has all of them', async () => {
  await using stack = new AsyncDisposableStack();
  const board = await startBoard(stack, 'ramdisk', 'bootRamdisk: true\n');
  const tftp = async (name: string): Promise<Buffer> =>
    (await board.fetch(`tftp://10.78.0.1/${serial}/${name}`, '--tftp-blksize', '1468')).body;
  const config = (await tftp('config.txt')).toString();
  expect(config).toMatch(/^boot_ramdisk=1$/m);
  const image = await tftp('boot.img');
  const files = await unpack(board, image);
  expect(files.get('config.txt')?.toString()).toBe(config.replace('boot_ramdisk=1\n', ''));
  expect(files.get('cmdline.txt')?.equals(await tftp('cmdline.txt'))).toBe(true);
  expect(files.get('kernel8.img')?.equals(await readFile(join(board.bootFiles, 'kernel8.img')))).toBe(true);
  // By HTTP it is the same file; there is no key here, so no signature by either way.
  expect((await board.fetch(`${url}/pi/boot.img`)).body.equals(image)).toBe(true);
  expect(await tftp('boot.sig')).toHaveLength(0);
  const node = await board.lab.server.node('red5');
  expect(node.boot?.events.map(({ detail }) => detail ?? '')).toContainEqual(expect.stringMatching(`^boot.img ${image.length} bytes `));
  expect(node.state).toBe('kernel');
});
