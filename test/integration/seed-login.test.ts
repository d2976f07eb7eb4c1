import { globSync, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect, test } from 'vitest';
import { findPlaces } from '#src/config/places.ts';
import { HostKeys } from '#src/daemon/identity.ts';
import { SshCa } from '#src/daemon/ssh-ca.ts';
import { parseNodeName } from '#src/domain/node.ts';
import type { NodeSettings } from '#src/domain/node-settings.ts';
import { parsePublicKey } from '#src/domain/public-key.ts';
import { ran, until } from '../support/lab-server.ts';
import { nodeRoot } from '../support/node-root.ts';

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === 'object' && address ? address.port : 0;
}

async function newKey(directory: string, name: string): Promise<{ file: string; publicKey: string }> {
  const file = join(directory, name);
  await execa('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', name, '-f', file]);
  return { file, publicKey: readFileSync(`${file}.pub`, 'utf8').trim() };
}

test("a Debian's own sshd lets in whom the settings name, and shows who it is without a question", async (context) => {
  const [image] = globSync(join(findPlaces({ env: process.env }).cache, 'trees/debian-13-amd64-*/root.img'));
  if (image === undefined || process.arch !== 'x64') {
    context.skip('no tree of debian-13 for amd64 in the cache; cardless image build debian-13 makes one');
    return;
  }
  await using stack = new AsyncDisposableStack();
  const work = mkdtempSync(join(tmpdir(), 'cardless-login-'));
  const mount = async (...words: string[]): Promise<void> => {
    await execa('mount', words);
    stack.defer(async () => void (await execa('umount', [words.at(-1) ?? ''])));
  };
  const [lower, upper, root] = ['lower', 'upper', 'root'].map((name) => join(work, name)) as [string, string, string];
  for (const directory of [lower, upper, root]) {
    mkdirSync(directory);
  }
  await mount('-o', 'ro,loop', image, lower);
  await mount('-t', 'tmpfs', 'upper', upper);
  mkdirSync(join(upper, 'upper'));
  mkdirSync(join(upper, 'work'));
  await mount('-t', 'overlay', '-o', `lowerdir=${lower},upperdir=${upper}/upper,workdir=${upper}/work`, 'overlay', root);
  await mount('--bind', '/dev', join(root, 'dev'));
  await mount('-t', 'proc', 'proc', join(root, 'proc'));

  const ca = new SshCa(join(work, 'ca'));
  const identity = await new HostKeys(join(work, 'keys')).of({ name: parseNodeName('red5'), macs: [] });
  const hostCertificate = await ca.signHost(identity.publicKey, ['red5', 'red5.cluster.internal']);
  const sshCa = await ca.publicKey();
  using node = await nodeRoot({}, { root, identity, hostCertificate, sshCa });
  const [ann, operator] = [await newKey(work, 'ann'), await newKey(work, 'operator')];
  writeFileSync(`${operator.file}-cert.pub`, `${await ca.signUser(operator.publicKey, ['root'], 3600)}\n`);
  const settings: NodeSettings = { users: [{ name: 'ann', authorizedKeys: [parsePublicKey(ann.publicKey)], shell: '/bin/bash' }] };
  expect(await node.boot(settings)).toEqual([]);
  // Debian's own judges of these files.
  for (const judge of ['pwck', 'grpck']) {
    expect(await ran('chroot', [root, judge, '-r', '-q'])).toMatchObject({ code: 0, stdout: '' });
  }

  mkdirSync(node.at('run/sshd'), { recursive: true });
  const port = await freePort();
  // sshd 9.8 and newer keep away who was refused a few times (sshd_config(5), PerSourcePenalties).
  const words = ['/usr/sbin/sshd', '-o', 'PerSourcePenalties=no', '-D', '-e', '-o', 'ListenAddress=127.0.0.1', '-p', String(port)];
  const sshd = execa('unshare', ['--mount', '--pid', '--fork', '--kill-child', 'chroot', root, ...words], { reject: false });
  stack.defer(async () => {
    sshd.kill();
    await sshd;
  });
  const knownHosts = join(work, 'known_hosts');
  writeFileSync(knownHosts, `@cert-authority * ${sshCa}\n`);
  const ssh = (user: string, key: string, host = 'red5.cluster.internal'): Promise<{ code: number; stdout: string; stderr: string }> =>
    ran('ssh', [
      ...['-F', 'none', '-p', String(port), '-o', `HostKeyAlias=${host}`, '-o', 'StrictHostKeyChecking=yes'],
      ...['-o', `UserKnownHostsFile=${knownHosts}`, '-o', 'BatchMode=yes', '-o', 'IdentitiesOnly=yes', '-i', key],
      ...[`${user}@127.0.0.1`, 'id -un'],
    ]);
  await until(async () => !/refused/.test((await ssh('ann', ann.file)).stderr), 'sshd');

  expect(await ssh('ann', ann.file)).toMatchObject({ code: 0, stdout: 'ann' });
  expect(await ssh('root', operator.file)).toMatchObject({ code: 0, stdout: 'root' });
  expect((await ssh('root', ann.file)).stderr).toContain('Permission denied (publickey)');
  expect((await ssh('ann', operator.file)).stderr).toContain('Permission denied (publickey)');
  expect(await ssh('ann', ann.file, 'red5')).toMatchObject({ code: 0 });
  expect((await ssh('ann', ann.file, 'red6')).stderr).toContain('Host key verification failed');
  writeFileSync(knownHosts, `@cert-authority * ${ann.publicKey}\n`);
  expect((await ssh('ann', ann.file)).stderr).toContain('Host key verification failed');
  writeFileSync(knownHosts, `@cert-authority * ${sshCa}\n`);

  // A key that she put into her home herself does not help either.
  mkdirSync(node.at('home/ann/.ssh'));
  writeFileSync(node.at('home/ann/.ssh/authorized_keys'), `${ann.publicKey}\n`);
  await execa('chroot', [root, 'chown', '-R', 'ann:ann', '/home/ann/.ssh']);
  expect(await node.refresh({ users: [] })).toEqual([]);
  expect((await ssh('ann', ann.file)).code).not.toBe(0);
  expect(await node.refresh(settings)).toEqual([]);
  expect(await ssh('ann', ann.file)).toMatchObject({ code: 0, stdout: 'ann' });
});
