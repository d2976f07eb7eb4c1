import { existsSync } from 'node:fs';
import { mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { DemoServer } from '#src/cli/demo/demo-server.ts';
import { parseMac } from '#src/domain/mac.ts';
import { startChild } from '#src/process/supervise.ts';
import { insideNamespace, removeNamespace } from '#src/sim/lab.ts';
import { cardless, inLab, type Ran, ran, startLab, subnet, type TestLab, until } from '../support/lab-server.ts';

const mode = ['--mode', 'full', '--subnet', subnet];

interface Place {
  readonly namespace: string;
  readonly inside: (file: string, ...args: string[]) => Promise<Ran>;
}

interface World extends AsyncDisposable {
  readonly lab: TestLab;
  /** Behind wan0 of the server, with a route back to the nodes' subnet: only rules keep it out. */
  readonly world: Place;
  /** Behind adm0 of the server. */
  readonly admin: Place;
  readonly node: Place;
  readonly server: (...args: string[]) => Promise<Ran>;
}

function place(namespace: string): Place {
  return { namespace, inside: (file, ...args) => ran(...insideNamespace(namespace, file, args)) };
}

async function attach(lab: TestLab, stack: AsyncDisposableStack, name: string, server: string, peer: string): Promise<Place> {
  const namespace = `${lab.lab.namespace}-${name}`;
  await ran('ip', ['netns', 'add', namespace]);
  stack.defer(() => removeNamespace(namespace));
  const there = place(namespace);
  await inLab(lab.lab, 'ip', 'link', 'add', name, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace);
  await inLab(lab.lab, 'ip', 'address', 'add', `${server}/24`, 'dev', name);
  await inLab(lab.lab, 'ip', 'link', 'set', name, 'up');
  for (const args of [
    ['address', 'add', `${peer}/24`, 'dev', 'eth0'],
    ['link', 'set', 'eth0', 'up'],
    ['link', 'set', 'lo', 'up'],
    ['route', 'add', '10.78.0.0/24', 'via', server],
  ]) {
    await there.inside('ip', ...args);
  }
  return there;
}

async function makeWorld(name: string, flags: readonly string[]): Promise<World> {
  await using stack = new AsyncDisposableStack();
  const lab = stack.use(await startLab(name, [...mode, ...flags]));
  const world = await attach(lab, stack, 'wan0', '192.0.2.10', '192.0.2.1');
  const admin = await attach(lab, stack, 'adm0', '198.51.100.10', '198.51.100.1');
  await inLab(lab.lab, 'ip', 'route', 'add', 'default', 'via', '192.0.2.1', 'metric', '100');
  const node = place(await lab.lab.addBoard(parseMac('52:54:00:00:05:05')));
  await node.inside('ip', 'address', 'add', '10.78.0.20/24', 'dev', 'eth0');
  await node.inside('ip', 'route', 'add', 'default', 'via', '10.78.0.1');
  for (const { namespace } of [world, admin, node]) {
    const folder = await mkdtemp(join(tmpdir(), 'cardless-web-'));
    await writeFile(join(folder, 'hello'), 'hello\n');
    const web =
      'import http.server as h\nclass H(h.BaseHTTPRequestHandler):\n def do_GET(s):\n  s.send_response(200); s.end_headers(); s.wfile.write(s.client_address[0].encode())\nh.HTTPServer(("", 8000), H).serve_forever()';
    stack.use(startChild(...insideNamespace(namespace, 'python3', ['-c', web]), { graceMs: 1000 }));
    await until(async () => (await place(namespace).inside('ss', '-ltn')).stdout.includes(':8000'), 'a web server');
  }
  const owned = stack.move();
  return {
    lab,
    world,
    admin,
    node,
    server: (...args) => inLab(lab.lab, args[0] ?? '', ...args.slice(1)),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** As whom the other side sees us, or nothing when it cannot be reached. */
async function visit({ inside }: Place, address: string): Promise<string> {
  return (await inside('curl', '-s', '--max-time', '2', `http://${address}:8000/`)).stdout;
}

async function forwarding({ server }: World): Promise<string[]> {
  const files = ['br0', 'wan0', 'adm0', 'all'].map((name) => `/proc/sys/net/ipv4/conf/${name}/forwarding`);
  return (await server('cat', ...files)).stdout.split('\n');
}

const table = (world: World): Promise<Ran> => world.server('nft', 'list', 'table', 'inet', 'cardless');

describe('with the gateway', () => {
  test('nodes reach the uplink as this machine, and nothing else; nobody reaches them; stopped, all is as it was', async () => {
    await using world = await makeWorld('gateway', ['--gateway']);
    const { lab, node, admin } = world;
    await until(async () => (await table(world)).stdout.includes('masquerade'), 'the default route to be found');
    expect(await visit(node, '192.0.2.1')).toBe('192.0.2.10');
    expect(await visit(node, '198.51.100.1')).toBe('');
    // Our side of the link is a bridge, which br_netfilter makes part of what is forwarded.
    const other = place(await lab.lab.addBoard(parseMac('52:54:00:00:05:06')));
    await other.inside('ip', 'address', 'add', '10.78.0.21/24', 'dev', 'eth0');
    expect(await visit(other, '10.78.0.20')).toBe('10.78.0.21');
    expect(await visit(world.world, '10.78.0.20')).toBe('');
    expect(await visit(world.world, '198.51.100.1')).toBe('');
    expect(await visit(admin, '10.78.0.20')).toBe('');
    expect(await visit(admin, '192.0.2.1')).toBe('');
    // A node that speaks for somebody else.
    await node.inside('ip', 'address', 'add', '203.0.113.9/32', 'dev', 'eth0');
    expect((await node.inside('curl', '-s', '--max-time', '2', '--interface', '203.0.113.9', 'http://192.0.2.1:8000/')).stdout).toBe('');
    // Only the two interfaces forward, and the machine as such does not.
    expect(await forwarding(world)).toEqual(['1', '1', '0', '0']);

    const listed = await cardless(['--state', lab.state, 'service', 'list']);
    expect(listed.stdout).toMatch(/^gateway\s+br0 .*nodes reach the world by wan0$/m);
    expect(listed.stdout).toMatch(/nft {5}oifname "wan0" ip saddr \{ 10\.78\.0\.0\/24 \} masquerade/);
    expect(listed.stdout).toContain('1 in /proc/sys/net/ipv4/conf/wan0/forwarding');

    // Another program that replaces the rules of the whole machine.
    await world.server('nft', 'flush', 'ruleset');
    await until(async () => (await table(world)).code === 0, 'the rules to be there again', 30_000);
    expect(await visit(node, '192.0.2.1')).toBe('192.0.2.10');
    // The way out is another one.
    await world.server('ip', 'route', 'add', 'default', 'via', '198.51.100.1', 'metric', '10');
    await until(async () => (await table(world)).stdout.includes('oifname "adm0"'), 'the new uplink', 30_000);
    expect(await forwarding(world)).toEqual(['1', '0', '1', '0']);

    await lab.server.stop();
    expect((await table(world)).code).not.toBe(0);
    expect(await forwarding(world)).toEqual(['0', '0', '0', '0']);
    expect(existsSync(join(lab.state, 'gateway.json'))).toBe(false);
  });

  test('what a crash leaves is taken away by the next start, also by one without the gateway; what others opened stays open', async () => {
    await using world = await makeWorld('gatecrash', ['--gateway', '--uplink', 'wan0']);
    const { lab } = world;
    await until(async () => (await forwarding(world))[1] === '1', 'the uplink to be opened', 30_000);
    await lab.server.crash();
    expect((await table(world)).code).toBe(0);
    {
      await using plain = new DemoServer({ lab: lab.lab, state: lab.state, env: process.env, flags: mode });
      await plain.start();
      expect((await table(world)).code).not.toBe(0);
      expect(await forwarding(world)).toEqual(['0', '0', '0', '0']);
    }
    await lab.server.start();
    await until(async () => (await forwarding(world))[1] === '1', 'the uplink to be opened again', 30_000);
    // As container engines do.
    await world.server('sh', '-c', 'echo 1 >/proc/sys/net/ipv4/ip_forward');
    await lab.server.stop();
    expect((await table(world)).code).not.toBe(0);
    expect(await forwarding(world)).toEqual(['1', '1', '1', '1']);
  });
});

test('--dry-run shows every rule and file, and changes nothing', async () => {
  await using world = await makeWorld('gatedry', []);
  const { lab } = world;
  await lab.server.stop();
  const run = (...flags: string[]): Promise<Ran> =>
    world.server(process.execPath, 'src/main.ts', '--state', lab.state, 'up', '--interface', 'br0', ...mode, '--dry-run', ...flags);
  const shown = await run('--gateway', '--name-server', '--domain', 'lab.test');
  expect(shown).toMatchObject({ code: 0, stderr: '' });
  for (const line of [
    /^dns +br0 +answers on UDP and TCP port 53 of 10\.78\.0\.1$/m,
    /DHCP offers 10\.78\.0\.1 as name server, and the domain lab\.test$/m,
    /^gateway +br0 +nodes reach the world by wan0$/m,
    / 1 in \/proc\/sys\/net\/ipv4\/conf\/br0\/forwarding$/m,
    / nft {5}iifname "wan0" oifname "br0" drop$/m,
    / DHCP offers 10\.78\.0\.1 as router$/m,
  ]) {
    expect(shown.stdout).toMatch(line);
  }
  expect((await run()).stdout).toBe('No service would be on.');
  expect(JSON.parse((await run('--gateway', '--json')).stdout)).toMatchObject([{ service: 'gateway', interface: 'br0' }]);
  expect((await table(world)).code).not.toBe(0);
  expect(await forwarding(world)).toEqual(['0', '0', '0', '0']);
});
