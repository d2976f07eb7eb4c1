import { mkdtemp, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { describe, expect, test } from 'vitest';
import { UserError } from '#src/domain/errors.ts';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { listenTcp } from '#src/servers/http/listen.ts';
import { createNodeFace } from '#src/servers/http/node-face.ts';

async function start(): Promise<AsyncDisposable & { url: string; port: number; asked: string[] }> {
  const folder = await mkdtemp(join(tmpdir(), 'cardless-'));
  await writeFile(join(folder, 'vmlinuz'), 'the kernel');
  const asked: string[] = [];
  const refuse = (): never => {
    throw new UserError('not-permitted', 'not yours');
  };
  const app = createNodeFace({
    ipxeStart: () => '#!ipxe\n',
    ipxeBoot: ({ mac }) => Promise.resolve(`#!ipxe\n# ${mac}\n`),
    bootFile: (token, name) => {
      asked.push(`${token} ${name}`);
      return token === 'good' && name === 'vmlinuz' ? Promise.resolve(join(folder, name)) : refuse();
    },
    program: (name) => (name === 'ipxe.efi' ? Promise.resolve(Buffer.from('0123456789')) : refuse()),
    grubConfig: () => Promise.resolve('boot\n'),
    plan: (token) => (token === 'good' ? Promise.resolve("PLAN_NODE='red5'\n") : refuse()),
    seed: (token) => (token === 'good' ? Promise.resolve(Buffer.from('seed')) : refuse()),
    event: (token, _peer, name, detail) => void asked.push(`${token} ${name} ${detail}`),
    export: (format) =>
      format === 'prometheus'
        ? Promise.resolve({ text: `export ${format}\n`, mediaType: 'text/plain' })
        : Promise.reject(new UserError('not-found', 'There is no such export here')),
    ready: (key) => (key === 'agent' ? undefined : refuse()),
    agent: {
      order: (key) => (key === 'agent' ? Promise.resolve('') : refuse()),
      frozen: () => Promise.resolve(),
      thawed: refuse,
      answered: refuse,
    },
    refresh: { archive: refuse, refreshed: refuse },
    vitals: { report: (key, _peer, vitals) => (key === 'agent' ? void asked.push(JSON.stringify(vitals)) : refuse()) },
    hook: (key, _peer, kind, name, code) => void asked.push(`${key} ${kind} ${name} ${code}`),
    space: (key, _peer, what, percent) => (key === 'agent' && what === 'data' && percent === 93 ? undefined : refuse()),
    piBoot: { file: refuse },
    onFailure: (error) => {
      throw error;
    },
  });
  const listener = await listenTcp(app, parseIpv4('127.0.0.1'), 0);
  const address = listener.server.address();
  const port = typeof address === 'object' && address ? address.port : 0;
  return { url: `http://127.0.0.1:${port}`, port, asked, [Symbol.asyncDispose]: () => listener[Symbol.asyncDispose]() };
}

/** fetch would tidy the path up; this sends it as it is. */
async function rawGet(port: number, path: string): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  socket.end(`GET ${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n`);
  return await text(socket);
}

/** As busybox wget sends it to its proxy. Resolves to the status. */
async function viaProxy(port: number, path: string, header: string, body?: string): Promise<number> {
  const length = body === undefined ? '' : `Content-Length: ${body.length}\r\n`;
  const socket = connect(port, '127.0.0.1');
  socket.end(`GET http://127.0.0.1:${port}${path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${header}\r\n${length}\r\n${body ?? ''}`);
  return Number((await text(socket)).split(' ')[1]);
}

const basic = (userAndKey: string): string => `Proxy-Authorization: Basic ${Buffer.from(userAndKey).toString('base64')}`;

describe('node face', () => {
  test('an agent that takes the server for its proxy: GET without a body is one, GET with a body, though empty, is POST', async () => {
    await using face = await start();
    const good = basic('agent:agent');
    expect(await viaProxy(face.port, '/v1/agent/order', good)).toBe(200);
    expect(await viaProxy(face.port, '/v1/agent/order', good, '')).toBe(404);
    expect(await viaProxy(face.port, '/v1/ready', good)).toBe(404);
    expect(await viaProxy(face.port, '/v1/ready', good, 'cores=4')).toBe(204);
    expect(await viaProxy(face.port, '/v1/agent/frozen/a1', good, '')).toBe(200);
    expect(await viaProxy(face.port, '/v1/agent/vitals', good, '{"load":[0,0.5,1]}')).toBe(204);
    expect(await viaProxy(face.port, '/v1/agent/hook/everyBoot/each', good, '3')).toBe(204);
    expect(face.asked).toEqual(['{"load":[0,0.5,1]}', 'agent everyBoot each 3']);
    // Nobody else's GET becomes anything.
    expect(await viaProxy(face.port, '/v1/ready', 'Authorization: Bearer agent', 'cores=4')).toBe(404);
  });
  test.each([
    basic('agent:wrong'),
    basic('root:agent'),
    basic('Agent:agent'),
    basic('agent'),
    basic('agent:'),
    basic('agent:agent:agent'),
    basic('agent:agent\n'),
    basic('agent:../..'),
    basic(`agent:${'a'.repeat(129)}`),
    'Proxy-Authorization: Basic agent:agent',
    'Proxy-Authorization: Basic ',
    'Proxy-Authorization: Bearer agent',
    'Authorization: Basic YWdlbnQ6YWdlbnQ=',
  ])('%j is no agent', async (header) => {
    await using face = await start();
    expect(await viaProxy(face.port, '/v1/agent/order', header)).toBe(403);
  });
  test.each([
    ['http://other-host/grub/grub.cfg', 200],
    ['https://user@other-host:1/grub/grub.cfg?x=http://a/', 200],
    ['http://127.0.0.1:22/', 404],
    ['http://other-host', 404],
    ['http:///etc/passwd', 404],
    ['http://[/grub/grub.cfg', 404],
    ['http://other-host/boot/good/..%2f..%2fetc%2fpasswd', 403],
    ['http://other-host/boot/good/%', 400],
  ])('%s is looked for here, and nothing is asked elsewhere', async (url, status) => {
    await using face = await start();
    expect(await rawGet(face.port, url)).toMatch(new RegExp(`^HTTP/1\\.1 ${status} `));
  });
  test('vitals are taken from agents alone, as JSON of a sensible size', async () => {
    await using face = await start();
    const post = async (key: string, body: string): Promise<number> =>
      (await fetch(`${face.url}/v1/agent/vitals`, { method: 'POST', headers: { authorization: `Bearer ${key}` }, body })).status;
    expect(await post('agent', '{"load":[0,0.5,1]}')).toBe(204);
    expect(face.asked).toEqual(['{"load":[0,0.5,1]}']);
    expect(await post('another', '{"load":[0,0.5,1]}')).toBe(403);
    expect(await post('agent', '{"load":[0,0.5]}')).toBe(400);
    expect(await post('agent', '{"load":')).toBe(400);
    expect(await post('agent', JSON.stringify({ hostname: 'x'.repeat(20_000) }))).toBe(413);
  });

  test('a boot program is for everybody: HEAD, GET and one range, with its size and kind', async () => {
    await using face = await start();
    const url = `${face.url}/programs/ipxe.efi`;
    const head = await fetch(url, { method: 'HEAD' });
    expect([head.status, head.headers.get('content-length'), head.headers.get('content-type')]).toEqual([200, '10', 'application/efi']);
    expect(await (await fetch(url)).text()).toBe('0123456789');
    const part = await fetch(url, { headers: { range: 'bytes=2-4' } });
    expect([part.status, part.headers.get('content-range'), await part.text()]).toEqual([206, 'bytes 2-4/10', '234']);
    expect((await fetch(url, { headers: { range: 'bytes=10-' } })).status).toBe(416);
    expect(await (await fetch(url, { headers: { range: 'bytes=0-1,4-5' } })).text()).toBe('0123456789');
    expect((await fetch(`${face.url}/programs/other.efi`)).status).toBe(403);
  });
  test('GRUB that came by HTTP finds its configuration', async () => {
    await using face = await start();
    expect(await (await fetch(`${face.url}/grub/grub.cfg`)).text()).toBe('boot\n');
    expect(await (await fetch(`${face.url}/programs/grub/grub.cfg`)).text()).toBe('boot\n');
  });
  test('an export that the settings publish is for everybody', async () => {
    await using face = await start();
    const response = await fetch(`${face.url}/v1/export/prometheus`);
    expect([response.status, await response.text()]).toEqual([200, 'export prometheus\n']);
    expect((await fetch(`${face.url}/v1/export/hosts`)).status).toBe(404);
  });
  test('files, plan and seed for the bearer of a token', async () => {
    await using face = await start();
    const headers = { authorization: 'Bearer good' };
    expect(await (await fetch(`${face.url}/boot/good/vmlinuz`)).text()).toBe('the kernel');
    expect(await (await fetch(`${face.url}/v1/plan`, { headers })).text()).toBe("PLAN_NODE='red5'\n");
    expect(await (await fetch(`${face.url}/v1/seed`, { headers })).text()).toBe('seed');
    expect((await fetch(`${face.url}/v1/events/network`, { method: 'POST', headers, body: 'eth0' })).status).toBe(204);
    expect(face.asked).toContain('good network eth0');
  });
  test.each(['/v1/plan', '/v1/seed'])('%s without a token, with a wrong one or a malformed one: 403', async (path) => {
    await using face = await start();
    for (const authorization of [undefined, 'Bearer wrong', 'Bearer ../..', 'Basic good']) {
      const response = await fetch(face.url + path, authorization === undefined ? {} : { headers: { authorization } });
      expect(response.status).toBe(403);
    }
  });
  test.each([
    '/boot/good/../../etc/passwd',
    '/boot/good/..%2f..%2fetc%2fpasswd',
    '/boot/good//etc/passwd',
    '/boot/good/%00',
    '/../etc/passwd',
    '/boot/good/%',
    '//etc/passwd',
  ])('%s gets nothing', async (path) => {
    await using face = await start();
    const answer = await rawGet(face.port, path);
    expect(answer).toMatch(/^HTTP\/1\.1 (400|403|404) /);
    expect(answer).not.toContain('root:');
  });
  test('there is no admin API here', async () => {
    await using face = await start();
    expect((await fetch(`${face.url}/api/v1/nodes`)).status).toBe(404);
  });
  test('a body that is too long is refused', async () => {
    await using face = await start();
    const response = await fetch(`${face.url}/v1/events/network`, {
      method: 'POST',
      headers: { authorization: 'Bearer good' },
      body: 'x'.repeat(10_000),
    });
    expect(response.status).toBe(413);
  });
});
