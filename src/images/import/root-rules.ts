/**
 * What a system on a card has and a network root must not have. One entry a reason; the report has the reason beside
 * every file that was changed for it. Sources: LTSP's and PiServer's lists of clean-ups, Raspberry Pi OS (raspi-config,
 * userconf-pi, raspberrypi-sys-mods, rpi-swap, rpi-resize) and cloud-init's documentation.
 *
 * Nothing here names a network interface: which one a board boots from is known at its boot (rootfs/initramfs/keep-address).
 */

import { withoutDisks } from './fstab.ts';
import { all, atBoot, type Change, masks, matching, type RootRule, removes, rewrites, writes } from './root-rule.ts';

const cloudInit = `# This root has no disk of its own to grow into, and its network is up before it starts.
growpart: { mode: 'off' }
resize_rootfs: false
disk_setup: {}
fs_setup: []
mounts: []
network: { config: disabled }
ssh_deletekeys: false
`;

const rpiSwap = `# No swap over the network.
[Main]
Mechanism=zram
`;

export const rootRules: readonly RootRule[] = [
  {
    id: 'disks-in-fstab',
    reason: 'the board has none of these disks: the boot would wait for them, and fsck look for them',
    plan: rewrites('etc/fstab', (text) => {
      const { text: rest, dropped } = withoutDisks(text);
      return dropped.length === 0 ? undefined : { text: rest, what: `made comments: ${dropped.join('; ')}` };
    }),
  },
  {
    id: 'swap',
    reason: 'swap over the network stops a board as soon as memory is short; zram is left as it is',
    plan: all(
      masks('dphys-swapfile.service', 'swapfile.swap', 'swap.swap', 'swap.img.swap', 'var-swap.swap', 'rpi-setup-loop@var-swap.service'),
      removes('var/swap', 'swapfile', 'swap.img'),
      sysvOff('dphys-swapfile'),
      writes(
        { path: 'etc/rpi/swap.conf.d/90-cardless.conf', content: rpiSwap, what: 'zram alone' },
        'usr/lib/systemd/system-generators/rpi-swap-generator',
        'lib/systemd/system-generators/rpi-swap-generator',
        'etc/rpi/swap.conf',
      ),
    ),
  },
  {
    id: 'resize',
    reason: 'there is no partition to grow; the root is read-only and its overlay has its full size',
    plan: all(
      sysvOff('resize2fs_once'),
      removes('etc/init.d/resize2fs_once'),
      masks('resize2fs_once.service', 'rpi-resize.service', 'rpi-resizerootfs.service', 'armbian-resize-filesystem.service'),
      masks('systemd-growfs-root.service', 'growpart.service', 'systemd-repart.service', 'e2scrub_reap.service', 'e2scrub_all.timer'),
      writes({ path: 'etc/cloud/cloud.cfg.d/99-cardless.cfg', content: cloudInit, what: 'no growing, no network' }, 'etc/cloud/cloud.cfg'),
    ),
  },
  {
    id: 'first-boot',
    reason: 'a wizard waits at the console for somebody who is not there, and every boot of a fresh overlay is a first boot',
    plan: all(
      masks('userconfig.service', 'systemd-firstboot.service', 'initial-setup.service', 'armbian-firstrun.service', 'oem-config.service'),
      masks('armbian-firstrun-config.service', 'rpi-firstboot.service', 'raspberrypi-firstboot.service'),
      removes(
        'etc/xdg/autostart/piwiz.desktop',
        'root/.not_logged_in_yet',
        'etc/systemd/system/getty@tty1.service.d/autologin-wizard.conf',
      ),
    ),
  },
  {
    id: 'identity',
    reason: 'copied to all boards it is a lie: same DHCP leases, same SSH host; the server gives each board its own at boot',
    plan: all(
      async (tree) => ((await tree.has('etc/machine-id')) ? [emptyMachineId] : []),
      removes(
        'etc/ssh/ssh_host_*',
        'var/lib/dbus/machine-id',
        'etc/hostname',
        'var/lib/systemd/random-seed',
        'var/lib/urandom/random-seed',
      ),
      removes('var/lib/systemd/credential.secret', 'var/lib/cloud/instance', 'var/lib/cloud/instances', 'var/lib/cloud/data'),
      removes('var/lib/dhcp/*.lease*', 'var/lib/dhcpcd/*.lease*', 'var/lib/NetworkManager/*.lease*', 'var/lib/NetworkManager/secret_key'),
      removes('etc/resolv.conf'),
    ),
  },
  {
    id: 'host-keys-made-at-boot',
    reason: 'it would delete the host key that the server has just given the board',
    plan: masks('regenerate_ssh_host_keys.service'),
  },
  {
    id: 'fsck',
    reason: 'the root is read-only and the same for all; disks of the board are checked before they are mounted',
    plan: all(masks('systemd-fsck-root.service'), removes('forcefsck'), sysvOff('checkroot.sh'), sysvOff('checkfs.sh')),
  },
  {
    id: 'network-at-boot',
    reason: 'the network is up before the root is there, and the initramfs tells its managers to leave the interface of the root alone',
    plan: all(
      masks('systemd-networkd-wait-online.service', 'NetworkManager-wait-online.service'),
      removes('etc/NetworkManager/system-connections/preconfigured-wired.nmconnection'),
      atBoot(
        'told at each boot to leave the interface of the root alone',
        ...['usr/lib/systemd/systemd-networkd', 'usr/sbin/NetworkManager', 'etc/dhcpcd.conf', 'etc/network/interfaces'],
      ),
    ),
  },
  {
    id: 'eeprom',
    reason: 'firmware of boards is updated on purpose, not by whatever boots on them',
    plan: masks('rpi-eeprom-update.service', 'rpi-eeprom-update.timer'),
  },
];

const emptyMachineId: Change = { kind: 'write', path: 'etc/machine-id', content: '', mode: 0o444, what: 'emptied' };

/** Links in etc/rc*.d start it under every init. */
function sysvOff(name: string): RootRule['plan'] {
  return async (tree) => {
    const levels = ['0', '1', '2', '3', '4', '5', '6', 'S'].map((level) => `etc/rc${level}.d/*${name}`);
    const links = (await Promise.all(levels.map((pattern) => matching(tree, pattern)))).flat();
    return links.filter((path) => /\/[SK]\d\d/.test(path)).map((path) => ({ kind: 'remove', path, what: 'removed' }));
  };
}
