import { mkdir, mkdtemp, readdir, readFile, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { CommitView } from '#src/cli/image/commit-image.ts';
import { findPlaces } from '#src/config/places.ts';
import { ensureNodePrograms } from '#src/images/node-programs.ts';
import { pcSerial, ready, realImages, virtualPc } from '../test/support/guests.ts';
import { cardless, ran, serverLog, startLab } from '../test/support/lab-server.ts';

/** As a package of somebody's own: a program, a file of settings, and a script that runs when it is installed. */
async function tinyPackage(): Promise<string> {
  const tree = await mkdtemp(join(tmpdir(), 'cardless-deb-'));
  await Promise.all(['DEBIAN', 'usr/bin', 'etc'].map((folder) => mkdir(join(tree, folder), { recursive: true })));
  const control = 'Package: greeter\nVersion: 1.0\nArchitecture: all\nMaintainer: Test <test@example.org>\nDescription: says hello\n';
  await writeFile(join(tree, 'DEBIAN/control'), control);
  await writeFile(join(tree, 'DEBIAN/postinst'), '#!/bin/sh\nmkdir -p /var/log/greeter && chown 7:8 /var/log/greeter\n', { mode: 0o755 });
  await writeFile(join(tree, 'usr/bin/greet'), '#!/bin/sh\necho hello from $(hostname)\n', { mode: 0o755 });
  await writeFile(join(tree, 'etc/greeter.conf'), 'loud\n');
  expect(await ran('dpkg-deb', ['--root-owner-group', '--build', tree, `${tree}.deb`])).toMatchObject({ code: 0 });
  return (await readFile(`${tree}.deb`)).toString('base64');
}

test('what was changed on a running node is the next version: frozen while it is copied, and booted by the node itself', async () => {
  await ensureNodePrograms({ cache: findPlaces({ env: process.env }).cache, arch: 'amd64', signal: new AbortController().signal });
  await using lab = await startLab('commit');
  // Links to each, so that what is published here stays here.
  await mkdir(join(lab.state, 'images'), { recursive: true });
  for (const digest of await readdir(realImages)) {
    await symlink(join(realImages, digest), join(lab.state, 'images', digest));
  }
  expect((await cardless(['--state', lab.state, 'node', 'add', 'pc1', '--serial', pcSerial])).code).toBe(0);
  await using pc = virtualPc(lab);
  await pc.powerOn();
  const before = await ready(lab.server, 'pc1', pc);
  const signal = new AbortController().signal;
  const ssh = (command: string): Promise<string> => lab.server.ssh('pc1', command, signal);
  const commit = async (...flags: string[]): Promise<CommitView> => {
    const done = await cardless(['--state', lab.state, 'image', 'commit', '--from', 'pc1', '--json', ...flags]);
    expect(done, await serverLog(lab.server)).toMatchObject({ code: 0 });
    return CommitView.parse(JSON.parse(done.stdout));
  };

  const identity = await ssh('cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub');
  await ssh(`echo ${await tinyPackage()} | base64 -d >/tmp/greeter.deb && dpkg -i /tmp/greeter.deb`);
  await ssh('echo changed >/etc/motd && chmod 600 /etc/issue && rm -f /etc/issue.net && echo secret >/root/.bash_history');
  // It writes all the time, before, during and after the commit.
  await ssh('nohup sh -c "while :; do cat /proc/uptime >>/root/ticks; sync; sleep 0.2; done" >/dev/null 2>&1 &');

  const dry = await commit('--dry-run');
  expect(dry.digest).toBeUndefined();
  expect(dry.snapshot).toMatchObject({ kind: 'frozen' });
  const changes = new Map(dry.changes.map((change) => [change.path, change.change]));
  expect(changes.get('/usr/bin/greet')).toBe('added');
  expect(changes.get('/etc/greeter.conf')).toBe('added');
  expect(changes.get('/var/lib/dpkg/info/greeter.list')).toBe('added');
  expect(changes.get('/var/log/greeter')).toBe('added');
  expect(dry.changes.find(({ path }) => path === '/etc/issue')?.what).toEqual(['mode']);
  expect(changes.get('/etc/issue.net')).toBe('removed');
  const identityOrState =
    /machine-id|ssh_host|authorized_keys|agent|hostname$|\/hosts$|resolv|history|^\/var\/log\/.*\.log|^\/tmp|cardless/;
  expect(dry.changes.filter(({ path }) => identityOrState.test(path))).toEqual([]);
  expect(dry.leftOut.map(({ path }) => path)).toEqual(
    expect.arrayContaining(['/etc/machine-id', '/root/.bash_history', '/root/.ssh/authorized_keys']),
  );

  const made = await commit('--message', 'with a greeter', '--exclude', '/root/ticks');
  expect(made).toMatchObject({ name: 'debian-13', snapshot: { kind: 'frozen' }, counts: { removed: dry.counts.removed } });
  // Thawed: what it writes now is on its disk.
  const ticks = Number(await ssh('wc -l </root/ticks'));
  expect(await ssh('echo after >>/root/marks && sync && cat /root/marks')).toBe('after');
  expect(Number(await ssh('sleep 2; wc -l </root/ticks'))).toBeGreaterThan(ticks);
  expect(await ssh('dmesg')).not.toMatch(/I\/O error|Aborting journal|Remounting filesystem read-only|blocked for more than/);

  const listed = JSON.parse((await cardless(['--state', lab.state, 'image', 'list', '--json'])).stdout);
  expect(listed[0]).toMatchObject({ digest: made.digest, parent: made.parent, message: 'with a greeter', rootFormat: 'erofs' });
  expect(listed.map((image: { digest: string }) => image.digest)).toContain(made.parent);

  await ssh('(sleep 1; reboot) >/dev/null 2>&1 &');
  const after = await ready(lab.server, 'pc1', pc, before.boot?.id);
  expect(after.boot).toMatchObject({ digest: made.digest });
  expect(await ssh('greet; cat /etc/motd /etc/greeter.conf; stat -c "%a" /etc/issue; stat -c "%u:%g" /var/log/greeter')).toBe(
    'hello from pc1\nchanged\nloud\n600\n7:8',
  );
  expect(await ssh('dpkg -s greeter | grep Status; dpkg --audit')).toBe('Status: install ok installed');
  expect(await ssh('ls /etc/issue.net /root/marks /root/ticks 2>/dev/null || true')).toBe('');
  expect(await ssh('cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub')).toBe(identity);
  const clean = await commit('--dry-run');
  expect(clean.changes.filter(({ path }) => identityOrState.test(path) || /greeter|motd|issue/.test(path))).toEqual([]);
});
