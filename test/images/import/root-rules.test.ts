import { describe, expect, test } from 'vitest';
import { withoutDisks } from '#src/images/import/fstab.ts';
import type { Change } from '#src/images/import/root-rule.ts';
import { rootRules } from '#src/images/import/root-rules.ts';
import type { TreeView } from '#src/images/tree-access.ts';

function treeOf(files: Readonly<Record<string, string>>): TreeView {
  const paths = Object.keys(files);
  const names = (directory: string): string[] =>
    [
      ...new Set(
        paths.filter((path) => path.startsWith(`${directory}/`)).map((path) => path.slice(directory.length + 1).split('/')[0] ?? ''),
      ),
    ].toSorted();
  return {
    list: (path) => Promise.resolve(names(path)),
    read: (path) => Promise.resolve(files[path]),
    has: (path) => Promise.resolve(paths.some((one) => one === path || one.startsWith(`${path}/`))),
  };
}

async function changesOf(id: string, files: Readonly<Record<string, string>>): Promise<readonly Change[]> {
  const rule = rootRules.find((one) => one.id === id);
  return rule ? await rule.plan(treeOf(files)) : [];
}

describe('rules for a root', () => {
  test('each has a name of its own and a reason', () => {
    expect(new Set(rootRules.map(({ id }) => id)).size).toBe(rootRules.length);
    expect(rootRules.every(({ reason }) => reason.length > 20)).toBe(true);
  });
  test('an empty tree needs no change', async () => {
    for (const { id } of rootRules) {
      expect(await changesOf(id, {}), id).toEqual([]);
    }
  });
  const unit = (name: string): Record<string, string> => ({ [`usr/lib/systemd/system/${name}`]: '' });
  test.each([
    ['swap', unit('dphys-swapfile.service'), ['etc/systemd/system/dphys-swapfile.service']],
    ['swap', { 'var/swap': '', swapfile: '' }, ['var/swap', 'swapfile']],
    ['swap', { 'usr/lib/systemd/system-generators/rpi-swap-generator': '' }, ['etc/rpi/swap.conf.d/90-cardless.conf']],
    ['swap', { 'etc/systemd/zram-generator.conf': '[zram0]', ...unit('systemd-zram-setup@.service') }, []],
    [
      'resize',
      { 'etc/init.d/resize2fs_once': '', 'etc/rc3.d/S01resize2fs_once': '' },
      ['etc/rc3.d/S01resize2fs_once', 'etc/init.d/resize2fs_once'],
    ],
    ['resize', { 'etc/cloud/cloud.cfg': '' }, ['etc/cloud/cloud.cfg.d/99-cardless.cfg']],
    ['first-boot', { 'lib/systemd/system/userconfig.service': '' }, ['etc/systemd/system/userconfig.service']],
    [
      'identity',
      { 'etc/machine-id': 'x', 'etc/ssh/ssh_host_rsa_key': '', 'etc/ssh/sshd_config': '' },
      ['etc/machine-id', 'etc/ssh/ssh_host_rsa_key'],
    ],
    ['host-keys-made-at-boot', unit('regenerate_ssh_host_keys.service'), ['etc/systemd/system/regenerate_ssh_host_keys.service']],
    [
      'fsck',
      { ...unit('systemd-fsck-root.service'), 'etc/rcS.d/S05checkroot.sh': '' },
      ['etc/systemd/system/systemd-fsck-root.service', 'etc/rcS.d/S05checkroot.sh'],
    ],
    [
      'network-at-boot',
      { ...unit('NetworkManager-wait-online.service'), 'etc/NetworkManager/system-connections/preconfigured-wired.nmconnection': '' },
      ['etc/systemd/system/NetworkManager-wait-online.service', 'etc/NetworkManager/system-connections/preconfigured-wired.nmconnection'],
    ],
    ['eeprom', unit('rpi-eeprom-update.service'), ['etc/systemd/system/rpi-eeprom-update.service']],
  ])('%s: %j', async (id, files, paths) => {
    expect((await changesOf(id, files)).map(({ path }) => path)).toEqual(paths);
  });
  test('masked means a link to /dev/null, whose parent need not be there', async () => {
    expect(await changesOf('eeprom', unit('rpi-eeprom-update.service'))).toEqual([
      { kind: 'link', path: 'etc/systemd/system/rpi-eeprom-update.service', target: '/dev/null', what: 'masked' },
    ]);
  });
  test('what is about one interface is told, and left to the boot, which knows the interface', async () => {
    const files = {
      'usr/lib/systemd/systemd-networkd': '',
      'usr/sbin/NetworkManager': '',
      'usr/sbin/ifup': '',
      'etc/dhcpcd.conf': 'interface eth0\n',
      'etc/network/interfaces': 'auto eth0\niface eth0 inet dhcp\n',
      'etc/network/interfaces.d/lan': 'iface enp3s0 inet static\n',
    };
    const changes = await Promise.all(rootRules.map(({ plan }) => plan(treeOf(files))));
    const what = 'told at each boot to leave the interface of the root alone';
    const paths = ['usr/lib/systemd/systemd-networkd', 'usr/sbin/NetworkManager', 'etc/dhcpcd.conf', 'etc/network/interfaces'];
    expect(changes.flat()).toEqual(paths.map((path) => ({ kind: 'at-boot', path, what })));
  });
});

describe('fstab', () => {
  test('keeps what needs no disk, in its place', () => {
    const text = [
      '# a comment',
      'proc /proc proc defaults 0 0',
      'UUID=1 / ext4 defaults 0 1',
      'tmpfs /tmp tmpfs size=10% 0 0',
      'server:/home /home nfs defaults 0 0',
      '/var/a /srv/a none bind 0 0',
      '/swapfile  none swap sw 0 0',
      '',
    ].join('\n');
    const { text: after, dropped } = withoutDisks(text);
    expect(dropped).toEqual(['UUID=1 / ext4 defaults 0 1', '/swapfile none swap sw 0 0']);
    expect(after.split('\n').filter((line) => line !== '' && !line.startsWith('#'))).toHaveLength(4);
    expect(withoutDisks(after)).toEqual({ text: after, dropped: [] });
  });
});
