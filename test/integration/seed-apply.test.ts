import { chownSync, lchownSync, mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { release } from 'node:os';
import { expect, test } from 'vitest';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import type { NodeServices } from '#src/policy/render-service-files.ts';
import { debianRoot, nodeRoot } from '../support/node-root.ts';

test('files: with mode and owner by name, rendered, taken away, and given back as the image has them', async () => {
  using node = await nodeRoot();
  mkdirSync(node.at('srv'), { recursive: true });
  symlinkSync('/srv', node.at('opt'));
  writeFileSync(node.at('etc/old.conf'), 'old');
  const files = [
    { path: '/etc/app/name.conf', content: 'name={{ node.name }}\n', template: true, mode: '0640', owner: 'pi:adm' },
    { path: '/etc/of pi', content: 'x', owner: 'pi' },
    { path: '/opt/deep/file', content: 'through a link\n' },
    { path: '/etc/motd', content: 'ours\n' },
    { path: '/etc/old.conf' },
    { path: '/etc/nobody', content: 'x', owner: 'nobody-here' },
    { path: '/etc/skel', content: 'x' },
  ];
  const said = [
    '/etc/nobody belongs to root, for there is no nobody-here here',
    '/etc/skel is a directory here',
    '/etc/skel cannot be written',
  ];
  expect(await node.boot({ files })).toEqual(said);
  const state = (): unknown[] => [
    [node.read('etc/app/name.conf'), node.stat('etc/app/name.conf'), node.stat('etc/app')],
    node.stat('etc/of pi'),
    node.read('srv/deep/file'),
    node.read('etc/motd'),
    node.exists('etc/old.conf'),
    node.exists('usr/lib/cardless/stage'),
    node.read('etc/machine-id'),
  ];
  const wanted = [
    ['name=red5\n', '640 1000:4', '755 0:0'],
    '644 1000:1000',
    'through a link\n',
    'ours\n',
    false,
    false,
    `${'f'.repeat(32)}\n`,
  ];
  expect(state()).toEqual(wanted);
  expect(await node.boot({ files })).toEqual(said);
  expect(state()).toEqual(wanted);

  expect(await node.boot({ files: [] })).toEqual([]);
  expect([node.read('etc/motd'), node.exists('etc/app/name.conf'), node.exists('srv/deep/file')]).toEqual(['of the image\n', false, false]);
});

test('a refresh writes what is live, and leaves the rest to the next boot', async () => {
  using node = await nodeRoot();
  const live = { path: '/etc/live', content: 'one', live: true };
  const still = { path: '/etc/still', content: 'one' };
  await node.boot({ files: [live, still, { path: '/etc/gone', content: 'x', live: true }] });
  expect(await node.refresh({ files: [{ ...live, content: 'two' }] })).toEqual([]);
  expect([node.read('etc/live'), node.read('etc/still'), node.exists('etc/gone')]).toEqual(['two', 'one', false]);
  expect([node.read('etc/hostname'), node.exists('run/cardless/refresh/usr/lib/cardless/stage')]).toEqual(['red5\n', false]);
  await node.boot({ files: [] });
  expect([node.exists('etc/live'), node.exists('etc/still')]).toEqual([false, false]);
});

test('links that a user has put where files go are replaced, and never followed', async () => {
  using node = await nodeRoot();
  mkdirSync(node.at('home/pi'));
  for (const [target, name] of [
    ['/etc', 'home/pi/to-directory'],
    ['/etc/shadow', 'home/pi/to-file'],
    ['/etc/shadow', 'home/pi/to-file.cardless-new'],
  ] as const) {
    symlinkSync(target, node.at(name));
  }
  const shadow = node.read('etc/shadow');
  const files = ['to-directory', 'to-file'].map((name) => ({ path: `/home/pi/${name}`, content: 'x', owner: 'pi' }));
  expect(await node.boot({ files })).toEqual([]);
  expect(files.map(({ path }) => [node.read(path), node.stat(path)])).toEqual(files.map(() => ['x', '644 1000:1000']));
  expect([node.read('etc/shadow'), node.stat('etc/shadow'), node.exists('etc/to-directory')]).toEqual([shadow, '640 0:0', false]);
});

test('a link that a user has put on the way to a file is not followed; what is made in a home belongs to its user', async () => {
  using node = await nodeRoot();
  mkdirSync(node.at('home/pi'));
  chownSync(node.at('home/pi'), 1000, 1000);
  symlinkSync('/etc', node.at('home/pi/.ssh'));
  lchownSync(node.at('home/pi/.ssh'), 1000, 1000);
  const files = ['.ssh/motd', '.config/app/conf'].map((name) => ({ path: `/home/pi/${name}`, content: 'x', owner: 'pi', live: true }));
  const said = ['/home/pi/.ssh/motd is left alone: .ssh on its way is a link of a user'];
  expect(await node.boot({ files })).toEqual(said);
  expect([node.read('etc/motd'), ...['', '/app', '/app/conf'].map((name) => node.stat(`home/pi/.config${name}`))]).toEqual([
    'of the image\n',
    '755 1000:1000',
    '755 1000:1000',
    '644 1000:1000',
  ]);
  expect(await node.refresh({ files: [{ path: '/home/pi/.ssh/motd', live: true }] })).toEqual(said);
  expect(await node.refresh({ files: [] })).toEqual(said);
  expect([node.read('etc/motd'), node.exists('home/pi/.config/app/conf')]).toEqual(['of the image\n', false]);
});

test('an sshd without sshd_config.d has what the server says in its own file, once and first', async () => {
  using node = await nodeRoot({ ...debianRoot, 'etc/ssh/sshd_config': 'PasswordAuthentication yes\n' });
  await node.boot({});
  await node.boot({});
  const text = node.read('etc/ssh/sshd_config');
  expect(text).toMatch(
    /^# cardless begin\nHostKey .*\n(.*\n)*PasswordAuthentication no\n(.*\n)*# cardless end\nPasswordAuthentication yes\n$/,
  );
  expect(text.match(/cardless begin/g)).toHaveLength(1);
  using modern = await nodeRoot({ ...debianRoot, 'etc/ssh/sshd_config': 'Include /etc/ssh/sshd_config.d/*.conf\n' });
  await modern.boot({});
  expect(modern.read('etc/ssh/sshd_config')).toBe('Include /etc/ssh/sshd_config.d/*.conf\n');
});

test('what an image has nothing for is told, and the node boots', async () => {
  const bare = Object.fromEntries(Object.entries(debianRoot).filter(([path]) => !/sshd|sudo/.test(path)));
  const kernel = `usr/lib/modules/${release()}/modules.dep`;
  const services: NodeServices = {
    timeServer: parseIpv4('10.0.0.1'),
    shared: { server: parseIpv4('10.0.0.1'), base: '/srv', directories: [{ name: 'shared' }] },
  };
  const settings = { users: [{ name: 'ann', sudo: true }], timeZone: 'Europe/Berlin', locale: 'de_DE.UTF-8' };
  using node = await nodeRoot({ ...bare, [kernel]: 'kernel/fs/ext4/ext4.ko:\n', 'usr/lib/locale/C.utf8/x': '' }, { services });
  symlinkSync('usr/lib', node.at('lib'));
  expect(await node.boot(settings)).toEqual([
    'nobody can log in by ssh: there is no SSH server in this image',
    'no user can use sudo: it is not in this image',
    'nothing keeps the time: there is no systemd-timesyncd and no chrony in this image',
    'Europe/Berlin is no time zone of this image, or it has no tzdata',
    'de_DE.UTF-8 is no locale of this image',
    'directories of the server cannot be mounted: there is no NFS 4 in the kernel of this image',
  ]);
  const whole = {
    ...debianRoot,
    'usr/lib/systemd/systemd-timesyncd': '',
    'usr/share/zoneinfo/Europe/Berlin': '',
    'usr/lib/locale/locale-archive': 'C.utf8 de_DE.utf8 ',
    [kernel]: 'kernel/fs/nfs/nfsv4.ko.xz: kernel/net/sunrpc/sunrpc.ko.xz\n',
  };
  using other = await nodeRoot(whole, { services });
  symlinkSync('usr/lib', other.at('lib'));
  expect(await other.boot(settings)).toEqual([]);
});

test('what a service of the subnet put on a node is gone when the service is switched off', async () => {
  const server = parseIpv4('10.0.0.1');
  using node = await nodeRoot(
    { ...debianRoot, 'usr/lib/systemd/systemd-timesyncd': '', 'etc/systemd/timesyncd.conf.d/10-cardless.conf': 'of the image\n' },
    { services: { timeServer: server, shared: { server, base: '/srv', directories: [{ name: 'shared' }] } } },
  );
  const units = ['mount', 'automount'].map((kind) => `etc/systemd/system/mnt-shared.${kind}`);
  const files = ['etc/chrony/sources.d/cardless.sources', ...units];
  const link = 'etc/systemd/system/remote-fs.target.wants/mnt-shared.automount';
  writeFileSync(node.at('run/cardless/lease'), "LEASE_DNS='10.0.0.1'\n");
  await node.boot({});
  expect([...files.map(node.exists), node.link(link), node.read('etc/resolv.conf')]).toEqual([
    ...files.map(() => true),
    '../mnt-shared.automount',
    'nameserver 10.0.0.1\n',
  ]);
  writeFileSync(node.at('run/cardless/lease'), "LEASE_DNS='9.9.9.9'\n");
  using off = await nodeRoot({}, { root: node.root });
  expect(await off.boot({})).toEqual([]);
  expect([...files, link].map(off.exists)).toEqual([...files, link].map(() => false));
  expect([off.read('etc/resolv.conf'), off.read('etc/systemd/timesyncd.conf.d/10-cardless.conf')]).toEqual([
    'nameserver 9.9.9.9\n',
    'of the image\n',
  ]);
});
