import { mkdtempSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { HostKeys } from '#src/daemon/identity.ts';
import { SshCa } from '#src/daemon/ssh-ca.ts';
import { parseNodeName } from '#src/domain/node.ts';
import { parseSerial } from '#src/domain/serial.ts';
import { run } from '#src/process/run.ts';

const red5 = { name: parseNodeName('red5'), serial: parseSerial('91cdf03d'), macs: [] };

async function shown(directory: string, certificate: string): Promise<string> {
  const file = join(directory, 'shown-cert.pub');
  writeFileSync(file, `${certificate}\n`);
  return await run('ssh-keygen', ['-L', '-f', file]);
}

test('one authority, made once, signs hosts for their names and users for a while', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'cardless-ca-'));
  const ca = new SshCa(join(directory, '_ca'));
  const [publicKey, again] = await Promise.all([ca.publicKey(), ca.publicKey()]);
  expect(publicKey).toMatch(/^ssh-ed25519 \S+ cardless$/);
  expect([again, await new SshCa(join(directory, '_ca')).publicKey()]).toEqual([publicKey, publicKey]);
  expect(statSync(join(directory, '_ca/ssh_ca_ed25519_key')).mode & 0o777).toBe(0o600);
  const { publicKey: hostKey } = await new HostKeys(directory).of(red5);
  const host = await shown(directory, await ca.signHost(hostKey, ['red5', 'red5.cluster.internal', '10.0.0.5']));
  expect(host).toMatch(/host certificate/);
  expect(host).toMatch(/Principals: \n\s+red5\n\s+red5\.cluster\.internal\n\s+10\.0\.0\.5\n/);
  const user = await shown(directory, await ca.signUser(hostKey, ['root'], 60));
  expect(user).toMatch(/user certificate/);
  expect(user).toMatch(/Valid: before /);
});

test('a machine id is drawn for a name; nodes that booted before keep the one of their board, also when that is replaced', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'cardless-keys-'));
  const keys = new HostKeys(directory);
  const [first, second] = await Promise.all([keys.of(red5), keys.of(red5)]);
  expect(second).toEqual(first);
  expect(first.machineId).toMatch(/^[0-9a-f]{32}$/);
  const another = { ...red5, serial: parseSerial('00000001') };
  expect((await new HostKeys(directory).of(another)).machineId).toBe(first.machineId);
  expect((await keys.of({ ...red5, name: parseNodeName('red6') })).machineId).not.toBe(first.machineId);

  // As the version before left it: sha256 of `cardless machine-id 91cdf03d`.
  await run('rm', [join(directory, 'red5/machine-id')]);
  await keys.keepMachineIds([red5, { ...red5, name: parseNodeName('blue1') }]);
  const earlier = (await run('sh', ['-c', "printf 'cardless machine-id 91cdf03d' | sha256sum"])).slice(0, 32);
  expect(readFileSync(join(directory, 'red5/machine-id'), 'utf8')).toBe(`${earlier}\n`);
  expect((await keys.of(another)).machineId).toBe(earlier);
  expect(await keys.known(parseNodeName('blue1'))).toBeUndefined();
});
