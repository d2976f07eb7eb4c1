import { mkdtempSync, readdirSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { NodeSecrets } from '#src/daemon/secrets.ts';
import type { Secret } from '#src/domain/node-settings.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { testNode } from '../support/nodes.ts';

const token: Secret = { name: 'k3s', path: '/etc/rancher/token', scope: 'cluster', bytes: 16, encoding: 'hex' };
const key: Secret = {
  name: 'munge',
  path: '/etc/munge/munge.key',
  scope: 'node',
  bytes: 32,
  encoding: 'raw',
  mode: '0400',
  owner: 'munge',
};
const [red5, red6] = ['red5', 'red6'].map((name) => testNode(name, { own: { secrets: [token, key] } })) as [
  ReturnType<typeof testNode>,
  ReturnType<typeof testNode>,
];

async function start() {
  const directory = join(mkdtempSync(join(tmpdir(), 'cardless-secrets-')), '_secrets');
  const open = async (): Promise<NodeSecrets> => {
    const secrets = new NodeSecrets(directory, new FakeClock());
    await secrets.start();
    return secrets;
  };
  return { directory, open, secrets: await open() };
}

const textOf = (files: readonly { bytes?: Buffer }[]): string[] => files.map(({ bytes }) => bytes?.toString('hex') ?? '');

test('drawn once, the same for all nodes or another for each, and still so after a restart', async () => {
  const { directory, secrets, open } = await start();
  const [first, again, other] = await Promise.all([secrets.filesFor(red5), secrets.filesFor(red5), secrets.filesFor(red6)]);
  expect(first).toMatchObject([
    { path: 'etc/rancher/token', mode: 0o600 },
    { path: 'etc/munge/munge.key', mode: 0o400, owner: 'munge' },
  ]);
  expect(first[0]?.bytes?.toString()).toMatch(/^[0-9a-f]{32}$/);
  expect(first[1]?.bytes).toHaveLength(32);
  expect(textOf(again)).toEqual(textOf(first));
  expect(textOf(other)[0]).toBe(textOf(first)[0]);
  expect(textOf(other)[1]).not.toBe(textOf(first)[1]);
  const restarted = await open();
  expect(textOf(await restarted.filesFor(red6))).toEqual(textOf(other));
  expect(restarted.drawOf(token, red5.name)).toBe(secrets.drawOf(token, red5.name));
  for (const name of readdirSync(directory, { recursive: true, encoding: 'utf8' })) {
    expect(statSync(join(directory, name)).mode & 0o077).toBe(0);
  }
});

test('rotated, for all or for some, it is another; listings have no bytes of it', async () => {
  const { secrets } = await start();
  expect(secrets.list([red5, red6])).toEqual([
    { name: 'k3s', scope: 'cluster' },
    { name: 'munge', scope: 'node', node: 'red5' },
    { name: 'munge', scope: 'node', node: 'red6' },
  ]);
  const [five, six] = [textOf(await secrets.filesFor(red5)), textOf(await secrets.filesFor(red6))];
  const draw = secrets.drawOf(key, red5.name);
  expect(await secrets.rotate('munge', [red5])).toEqual([{ name: 'munge', scope: 'node', node: 'red5', at: expect.any(Number) }]);
  expect(secrets.drawOf(key, red5.name)).not.toBe(draw);
  const [fiveNow, sixNow] = [textOf(await secrets.filesFor(red5)), textOf(await secrets.filesFor(red6))];
  expect([fiveNow[0], sixNow]).toEqual([five[0], six]);
  expect(fiveNow[1]).not.toBe(five[1]);
  await secrets.rotate('k3s', [red5, red6]);
  expect(textOf(await secrets.filesFor(red5))[0]).not.toBe(five[0]);
  await expect(secrets.rotate('other', [red5])).rejects.toThrow('No node has a secret "other"');
});

test('a node that is removed takes its own with it; another length is another draw', async () => {
  const { secrets } = await start();
  const [before] = [textOf(await secrets.filesFor(red5))];
  await secrets.removeOf(red5.name);
  expect(secrets.drawOf(key, red5.name)).toBeUndefined();
  const after = textOf(await secrets.filesFor(red5));
  expect([after[0] === before[0], after[1] === before[1]]).toEqual([true, false]);
  const longer = testNode('red5', { own: { secrets: [{ ...token, bytes: 64, encoding: 'base64' }] } });
  expect((await secrets.filesFor(longer))[0]?.bytes).toHaveLength(88);
});
