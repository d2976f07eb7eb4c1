/** Who on a node reaches its disks: the attacher itself in a name space that stands for the node, between server and container. */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect, test } from 'vitest';
import { projectRoot } from '#src/config/places.ts';
import { run } from '#src/process/run.ts';
import { insideNamespace, removeNamespace } from '#src/sim/lab.ts';

const server = '10.79.0.1';
const nbdPort = 10_809;
const otherPort = 8067;

/** Tells each who connects which address and port that came from. */
const listener = `
import socket, sys, threading
def serve(listener):
    while True:
        client, source = listener.accept()
        client.sendall(("%s %d" % source).encode())
        client.close()
for port in sys.argv[2:]:
    threading.Thread(target=serve, args=(socket.create_server((sys.argv[1], int(port))),)).start()
print("listening", flush=True)
`;

/** As which user, and from the first free port from which on. Says what it is told, or why it does not get there. */
const caller = `
import encodings.idna, errno, os, socket, sys
address, port, user, first = sys.argv[1], *map(int, sys.argv[2:])
os.setuid(user)
for own in range(first, first + 200):
    try:
        print(socket.create_connection((address, port), 5, ("", own)).recv(100).decode())
        break
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            print(errno.errorcode.get(error.errno, error))
            break
`;

interface Segment extends AsyncDisposable {
  readonly server: string;
  readonly node: string;
  readonly container: string;
}

async function ip(...args: string[]): Promise<string> {
  return await run('ip', args);
}

/** Server - node - container, where the node forwards and masquerades as Docker has it do. */
async function createSegment(): Promise<Segment> {
  await using stack = new AsyncDisposableStack();
  const names = { server: '', node: '', container: '' };
  for (const role of ['server', 'node', 'container'] as const) {
    names[role] = `cardless-${process.pid}-guard-${role}`;
    await ip('netns', 'add', names[role]);
    stack.defer(() => removeNamespace(names[role]));
    await ip('-n', names[role], 'link', 'set', 'lo', 'up');
  }
  const { node, container } = names;
  await ip('-n', names.server, 'link', 'add', 'eth0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', node);
  await ip('-n', node, 'link', 'add', 'docker0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', container);
  for (const [namespace, device, address] of [
    [names.server, 'eth0', `${server}/24`],
    [node, 'eth0', '10.79.0.2/24'],
    [node, 'docker0', '172.29.0.1/24'],
    [container, 'eth0', '172.29.0.2/24'],
  ] as const) {
    await ip('-n', namespace, 'address', 'add', address, 'dev', device);
    await ip('-n', namespace, 'link', 'set', device, 'up');
  }
  await ip('-n', container, 'route', 'add', 'default', 'via', '172.29.0.1');
  await run(...insideNamespace(node, 'sh', ['-c', 'echo 1 >/proc/sys/net/ipv4/ip_forward']));
  const masquerade = 'table ip nat { chain post { type nat hook postrouting priority 100; oifname "eth0" masquerade; }; }';
  await run(...insideNamespace(node, 'nft', [masquerade]));
  const kept = stack.move();
  return { ...names, [Symbol.asyncDispose]: () => kept.disposeAsync() };
}

async function startListener(namespace: string): Promise<AsyncDisposable> {
  const child = execa(...insideNamespace(namespace, 'python3', ['-c', listener, server, String(nbdPort), String(otherPort)]), {
    reject: false,
  });
  const lines = child.iterable();
  expect(await lines.next()).toMatchObject({ value: 'listening' });
  return {
    [Symbol.asyncDispose]: async () => {
      child.kill('SIGKILL');
      await child;
    },
  };
}

async function call(namespace: string, port: number, { user = 0, firstPort = 700 } = {}): Promise<string> {
  const args = [server, port, user, firstPort].map(String);
  return (await run(...insideNamespace(namespace, 'python3', ['-c', caller, ...args]))).trim();
}

/** Until it gives up: there is no kernel for it here, or no NBD server. */
async function runAttacher(namespace: string, device: number): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'cardless-guard-'));
  const program = join(directory, 'nbd-attach');
  await run('gcc', ['-O2', '-Wall', '-Wextra', '-Werror', '-o', program, join(projectRoot, 'rootfs/nbd-attach/nbd-attach.c')]);
  const args = [String(device), server, String(nbdPort), 'root'];
  const { exitCode } = await execa(...insideNamespace(namespace, program, args), { reject: false, timeout: 20_000 });
  await rm(directory, { recursive: true });
  expect(exitCode).not.toBe(0);
}

async function guardRules(namespace: string): Promise<string[]> {
  return (await ip('-n', namespace, '-details', 'rule')).split('\n').filter((line) => line.includes(server));
}

const ofNode = /^10\.79\.0\.2 \d+$/;
/** Masqueraded, and still a port that is for root. */
const ofNodesRoot = /^10\.79\.0\.2 ([5-9]\d\d|10[01]\d|102[0-3])$/;

test("from a node only its root's own sockets reach the disks, and all that is not NBD passes as before", async () => {
  await using segment = await createSegment();
  const { node, container } = segment;
  await using _listener = await startListener(segment.server);
  const user = { user: 65_534, firstPort: 20_000 };
  expect(await call(container, nbdPort)).toMatch(ofNodesRoot);
  expect(await call(node, nbdPort, user)).toMatch(ofNode);

  await runAttacher(node, 0);
  expect(await call(container, nbdPort)).toBe('EHOSTUNREACH');
  expect(await call(node, nbdPort, user)).toBe('EACCES');
  expect(await call(node, nbdPort)).toMatch(ofNodesRoot);
  expect(await call(container, otherPort)).toMatch(ofNodesRoot);
  expect(await call(node, otherPort, user)).toMatch(ofNode);

  const rules = await guardRules(node);
  expect(rules).toHaveLength(2);
  // systemd-networkd leaves these alone.
  expect(rules.every((rule) => rule.includes('proto kernel'))).toBe(true);
  await runAttacher(node, 1);
  expect(await guardRules(node)).toEqual(rules);
});
