/** How long a node that boots waits for a disk that the server does not give it yet. */
import { mkdtemp, rm } from 'node:fs/promises';
import { type AddressInfo, createServer, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { projectRoot } from '#src/config/places.ts';
import { run } from '#src/process/run.ts';

let directory: string;
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'cardless-attach-'));
  const source = join(projectRoot, 'test/support/first-connection.c');
  await run('gcc', ['-O1', '-Wall', '-I', join(projectRoot, 'rootfs/nbd-attach'), '-o', join(directory, 'first'), source]);
});
afterAll(() => rm(directory, { recursive: true, force: true }));

const greeting = Buffer.concat([Buffer.from('NBDMAGICIHAVEOPT'), Buffer.from([0, 3])]);
/** NBD_REP_INFO with NBD_INFO_EXPORT (1 MiB, flags 1), then NBD_REP_ACK, both to NBD_OPT_GO. */
const answer = Buffer.from(
  '0003e889045565a9 00000007 00000003 0000000c 0000 0000000000100000 0001 0003e889045565a9 00000007 00000001 00000000'.replaceAll(' ', ''),
  'hex',
);

/** Serves a disk as far as its first block, and hangs up on the first `refusals` clients where nbd-server does. */
async function startServer(refusals: number): Promise<AsyncDisposable & { port: number; asked: () => number }> {
  let asked = 0;
  const onClient = (socket: Socket): void => {
    let isGranted = false;
    socket.on('error', () => {});
    socket.write(greeting);
    socket.on('data', (data) => {
      if (data.includes('IHAVEOPT')) {
        asked += 1;
        isGranted = asked > refusals;
        if (isGranted) {
          socket.write(answer);
        } else {
          socket.destroy();
        }
      } else if (isGranted) {
        const reply = Buffer.alloc(16 + 4096);
        reply.writeUInt32BE(0x67446698, 0);
        socket.write(reply);
      }
    });
  };
  const server = createServer(onClient).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    asked: () => asked,
    [Symbol.asyncDispose]: async () => void (await new Promise((resolve) => server.close(resolve))),
  };
}

const first = (port: number, paceSeconds: number): Promise<string> =>
  run(join(directory, 'first'), ['127.0.0.1', String(port), 'overlay', String(paceSeconds)]);

test('a server that hangs up because the disk is held is asked until it is not', async () => {
  await using server = await startServer(100);
  // A hold of 100 tries with 5 s each.
  expect(await first(server.port, 5)).toBe('attached');
  expect(server.asked()).toBe(101);
});

test('a disk that never comes is given up while the initramfs can still say so', async () => {
  await using server = await startServer(Number.POSITIVE_INFINITY);
  expect(await first(server.port, 5)).toBe('Connection reset by peer');
  expect(server.asked() * 5).toBeGreaterThan(600);
  expect(server.asked() * 5).toBeLessThan(900);
});

test('a server that is not there is given up after some tries', async () => {
  const { port } = await (async () => {
    await using server = await startServer(0);
    return { port: server.port };
  })();
  expect(await first(port, 0)).toBe('Connection refused');
});
