/**
 * What a system on a card has and a network root must not have. One entry a reason; the report has the reason beside
 * every file that was changed for it. Sources: LTSP's and PiServer's lists of clean-ups, Raspberry Pi OS (raspi-config,
 * userconf-pi, raspberrypi-sys-mods, rpi-swap, rpi-resize), cloud-init's documentation, and what was measured of
 * systemd-networkd, which takes the boot address away at start and at stop.
 */

import type { TreeView } from '../tree-access.ts';
import { withoutDisks } from './fstab.ts';
import { all, type Change, masks, matching, type RootRule, removes, rewrites, writes } from './root-rule.ts';

/** The kernel is started with net.ifnames=0, so this is the NIC that the board booted from. */
const bootNic = 'eth0';

const networkd = `# The address of ${bootNic} was got before the root was there, and the root hangs on it.
[Match]
Name=${bootNic}
KernelCommandLine=cardless.server

[Link]
Unmanaged=yes
`;

const networkManager = `# The address of ${bootNic} was got before the root was there, and the root hangs on it.
[keyfile]
unmanaged-devices=interface-name:${bootNic}
`;

const cloudInit = `# This root has no disk of its own to grow into, and its network is up before it starts.
growpart: { mode: 'off' }
resize_rootfs: false
disk_setup: {}
fs_setup: []
mounts: []
network: { config: disabled }
ssh_deletekeys: false
`;

const noStop = `# Taking the interfaces down takes the root away, and the shutdown never ends.
[Service]
ExecStop=
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
    id: 'networkd',
    reason: 'it removes the boot address when it starts and when it stops, and the root with it',
    plan: all(
      writes(
        { path: `etc/systemd/network/00-cardless-${bootNic}.network`, content: networkd, what: `${bootNic} is left alone` },
        'usr/lib/systemd/systemd-networkd',
        'lib/systemd/systemd-networkd',
      ),
      masks('systemd-networkd-wait-online.service'),
    ),
  },
  {
    id: 'network-manager',
    reason: 'it may take the interface of the root down to configure it anew',
    plan: all(
      writes(
        { path: 'etc/NetworkManager/conf.d/90-cardless.conf', content: networkManager, what: `${bootNic} is left alone` },
        'usr/sbin/NetworkManager',
        'usr/bin/NetworkManager',
      ),
      removes('etc/NetworkManager/system-connections/preconfigured-wired.nmconnection'),
      masks('NetworkManager-wait-online.service'),
    ),
  },
  {
    id: 'dhcpcd',
    reason: 'it takes the address away when the link is lost or when it ends',
    plan: rewrites('etc/dhcpcd.conf', (text) =>
      new RegExp(`^denyinterfaces .*\\b${bootNic}\\b`, 'm').test(text)
        ? undefined
        : { text: `denyinterfaces ${bootNic}\n${text}`, what: `${bootNic} is left alone` },
    ),
  },
  {
    id: 'ifupdown',
    reason: 'ifdown at shutdown takes the interface of the root down, and the shutdown hangs',
    plan: all(interfacesFiles, async (tree) =>
      (await Promise.all(['usr/sbin/ifup', 'sbin/ifup'].map((path) => tree.has(path)))).includes(true)
        ? [
            {
              kind: 'write',
              path: 'etc/systemd/system/networking.service.d/cardless.conf',
              content: noStop,
              mode: 0o644,
              what: 'no ifdown',
            },
          ]
        : [],
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

/** Stanzas of the boot NIC become comments, in the file and in those that it includes. */
async function interfacesFiles(tree: TreeView): Promise<readonly Change[]> {
  const files = ['etc/network/interfaces', ...(await matching(tree, 'etc/network/interfaces.d/*'))];
  const changes = await Promise.all(files.map((path) => rewrites(path, (text) => withoutInterface(text, bootNic))(tree)));
  return changes.flat();
}

/** interfaces(5): a stanza goes on to the next line that begins one. */
export function withoutInterface(text: string, nic: string): { text: string; what: string } | undefined {
  let isOff = false;
  const lines = text.split('\n').map((line) => {
    const [word = '', ...names] = line.trim().split(/\s+/);
    if (/^(iface|mapping|auto|source|source-directory|no-auto-down|no-scripts|rename)$|^allow-/.test(word)) {
      isOff = names[0] === nic || (word !== 'iface' && names.includes(nic));
    }
    if (!isOff || line.trim() === '' || line.trim().startsWith('#')) {
      return line;
    }
    const others = names.filter((name) => name !== nic);
    const isList = /^auto$|^allow-/.test(word);
    return isList && others.length > 0 ? `${word} ${others.join(' ')}` : `# not on a network root: ${line}`;
  });
  const after = lines.join('\n');
  return after === text ? undefined : { text: after, what: `${nic} is left alone` };
}
