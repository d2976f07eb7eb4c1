/** Small systems in the layouts that real ones have, made of a few files: to import, not to boot. */
import { chown, link, mkdir, mkdtemp, rm, symlink, truncate, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { ran } from './lab-server.ts';

export const piVersions = { 'kernel8.img': '6.12.25+rpt-rpi-v8', 'kernel_2712.img': '6.12.25+rpt-rpi-2712' } as const;
export const pcVersion = '6.12.9-amd64';
const machines = { arm64: 183, amd64: 62, i386: 3 } as const;

export async function must(file: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await ran(file, args);
  if (code !== 0) {
    throw new Error(`${file} ${args.join(' ')}: ${stderr}`);
  }
  return stdout;
}

const made: string[] = [];

export async function scratch(name: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), `cardless-${name}-`));
  made.push(folder);
  return folder;
}

/** Cards and trees are larger than what other tests leave in the temporary folder. */
export async function removeScratch(): Promise<void> {
  await Promise.all(made.splice(0).map((folder) => rm(folder, { recursive: true, force: true })));
}

/** With the fields by which an arm64 kernel is known, and its version in the text. */
export function arm64Kernel(version: string): Buffer {
  const image = Buffer.alloc(200_000, 0x5a);
  image.write('ARMd', 56, 'latin1');
  image.write('Linux version %s (%s)\0', 70_000, 'latin1');
  image.write(`Linux version ${version} (builder) #1 SMP\0`, 90_000, 'latin1');
  return image;
}

export function bzImage(version: string, is64 = true): Buffer {
  const image = Buffer.alloc(40_000, 0x5a);
  image.write('HdrS', 0x202, 'latin1');
  image.writeUInt16LE(0x3000 - 0x200, 0x20e);
  image.writeUInt16LE(is64 ? 1 : 0, 0x236);
  image.write(`${version} (builder) #1\0`, 0x3000, 'latin1');
  return image;
}

function elf(arch: keyof typeof machines): Buffer {
  const head = Buffer.alloc(64);
  head.writeUInt32BE(0x7f454c46);
  head.writeUInt16LE(machines[arch], 18);
  return head;
}

export async function writeTree(root: string, files: Readonly<Record<string, string | Buffer>>): Promise<void> {
  for (const [path, content] of Object.entries(files)) {
    await mkdir(join(root, dirname(path)), { recursive: true });
    await writeFile(join(root, path), content);
  }
}

function modules(version: string): Record<string, string> {
  const folder = `usr/lib/modules/${version}`;
  return {
    [`${folder}/modules.dep`]: '',
    [`${folder}/modules.builtin`]: 'kernel/fs/erofs/erofs.ko\n',
    [`${folder}/modules.builtin.modinfo`]: '',
    [`${folder}/modules.order`]: '',
  };
}

const unit = '[Unit]\nDescription=test\n';

/** What Raspberry Pi OS has on its root, as far as an import looks at it; some of it of other systems. */
export async function piRoot(root: string): Promise<void> {
  await writeTree(root, {
    'usr/lib/systemd/systemd': elf('arm64'),
    'etc/os-release': 'PRETTY_NAME="Raspberry Pi OS (test)"\nID=raspbian\n',
    'etc/fstab':
      'proc /proc proc defaults 0 0\nPARTUUID=deadbeef-01 /boot/firmware vfat defaults 0 2\nPARTUUID=deadbeef-02 / ext4 defaults,noatime 0 1\n',
    'etc/machine-id': '0123456789abcdef0123456789abcdef\n',
    'etc/hostname': 'raspberrypi\n',
    'etc/ssh/ssh_host_ed25519_key': 'secret',
    'etc/ssh/ssh_host_ed25519_key.pub': 'public',
    'etc/ssh/sshd_config': 'Port 22\n',
    'usr/sbin/sshd': elf('arm64'),
    'usr/sbin/NetworkManager': elf('arm64'),
    'usr/lib/systemd/systemd-networkd': elf('arm64'),
    'etc/dhcpcd.conf': 'hostname\n',
    'etc/network/interfaces': 'auto lo eth0\niface lo inet loopback\niface eth0 inet dhcp\n  metric 10\n',
    'usr/sbin/ifup': elf('arm64'),
    'etc/cloud/cloud.cfg': 'users: []\n',
    'etc/rpi/swap.conf': '[Main]\n',
    'etc/init.d/resize2fs_once': '#!/bin/sh\n',
    'etc/rc3.d/S01resize2fs_once': '',
    'var/swap': Buffer.alloc(4096, 1),
    ...Object.fromEntries(
      [
        'dphys-swapfile',
        'userconfig',
        'regenerate_ssh_host_keys',
        'rpi-eeprom-update',
        'rpi-resize',
        'systemd-fsck-root',
        'NetworkManager-wait-online',
        'ssh',
      ].map((name) => [`usr/lib/systemd/system/${name}.service`, unit]),
    ),
    'home/pi/.profile': 'mine\n',
    'usr/bin/ping': elf('arm64'),
    'boot/firmware/.keep': '',
    ...modules(piVersions['kernel8.img']),
    ...modules(piVersions['kernel_2712.img']),
  });
  await rm(join(root, 'boot/firmware/.keep'));
  await mkdir(join(root, 'usr/bin'), { recursive: true });
  await symlink('usr/bin', join(root, 'bin'));
  await symlink('usr/sbin', join(root, 'sbin'));
  await symlink('usr/lib', join(root, 'lib'));
  await symlink('/usr/lib/systemd/systemd', join(root, 'usr/sbin/init'));
  await link(join(root, 'usr/bin/ping'), join(root, 'usr/bin/ping4'));
  await chown(join(root, 'home/pi'), 1000, 1000);
  await chown(join(root, 'home/pi/.profile'), 1000, 1000);
  await must('setfattr', '-n', 'security.capability', '-v', '0x0100000200200000000000000000000000000000', join(root, 'usr/bin/ping'));
  await must('mknod', '-m', '600', join(root, 'null'), 'c', '1', '3');
}

export async function piBoot(folder: string): Promise<void> {
  await writeTree(folder, {
    'bootcode.bin': 'bootcode',
    'start.elf': 'start',
    'start4.elf': 'start4',
    'fixup.dat': 'fixup',
    'fixup4.dat': 'fixup4',
    'bcm2710-rpi-3-b.dtb': 'tree3',
    'bcm2711-rpi-4-b.dtb': 'tree4',
    'bcm2712-rpi-5-b.dtb': 'tree5',
    'overlays/vc4-kms-v3d.dtbo': 'overlay',
    'overlays/README': 'readme',
    'kernel8.img': gzipSync(arm64Kernel(piVersions['kernel8.img'])),
    'kernel_2712.img': gzipSync(arm64Kernel(piVersions['kernel_2712.img'])),
    'kernel7.img': 'not for this system',
    initramfs8: 'its own',
    'config.txt':
      '# comment\ndtparam=audio=on\nauto_initramfs=1\ndtoverlay=vc4-kms-v3d\n[cm5]\ndtoverlay=dwc2,dr_mode=host\n[tryboot]\ndtparam=i2c=on\n[all]\nos_prefix=new/\n',
    'cmdline.txt':
      'console=serial0,115200 root=PARTUUID=deadbeef-02 rootfstype=ext4 fsck.repair=yes rootwait cfg80211.ieee80211_regdom=DE init=/usr/lib/raspberrypi-sys-mods/firstboot\n',
  });
}

export interface CardOptions {
  /** Puts more into the root. */
  readonly fill?: (root: string) => Promise<void>;
  readonly rootSize?: string;
}

/** A card of Raspberry Pi OS: MBR, FAT with the firmware, ext4 with the root. */
export async function piCard(folder: string, { fill, rootSize = '24M' }: CardOptions = {}): Promise<string> {
  const [root, boot, fat, ext] = ['root', 'boot', 'boot.fat', 'root.ext4'].map((name) => join(folder, name)) as [
    string,
    string,
    string,
    string,
  ];
  await piRoot(root);
  await fill?.(root);
  await piBoot(boot);
  await must('mkfs.vfat', '-F', '32', '-n', 'bootfs', '-C', fat, '40960');
  await must('bash', '-c', 'mcopy -s -i "$1" "$2"/* ::/', 'copy', fat, boot);
  await must('mkfs.ext4', '-q', '-F', '-L', 'rootfs', '-d', root, ext, rootSize);
  return await makeDisk(join(folder, 'card.img'), 'label: dos\nlabel-id: 0xdeadbeef\n', [
    { file: fat, type: 'c' },
    { file: ext, type: '83' },
  ]);
}

export async function makeDisk(
  disk: string,
  header: string,
  parts: readonly { readonly file: string; readonly type: string }[],
): Promise<string> {
  const sizes = await Promise.all(parts.map(async ({ file }) => Number(await must('stat', '-c', '%s', file)) / 512));
  let next = 2048;
  const starts = sizes.map((size) => {
    const start = next;
    next += Math.ceil(size / 2048) * 2048;
    return start;
  });
  await writeFile(disk, '');
  await truncate(disk, (next + 2048) * 512);
  const lines = parts.map(({ type }, index) => `start=${starts[index]}, size=${sizes[index]}, type=${type}`);
  await must('bash', '-c', 'printf "%s" "$1" | sfdisk -q "$2"', 'sfdisk', `${header}unit: sectors\n${lines.join('\n')}\n`, disk);
  for (const [index, { file }] of parts.entries()) {
    await must('dd', `if=${file}`, `of=${disk}`, 'bs=512', `seek=${starts[index]}`, 'conv=notrunc,sparse', 'status=none');
  }
  return disk;
}

/** A PC's root, or what a container of it has. */
export async function pcRoot(root: string, arch: 'amd64' | 'i386' = 'amd64'): Promise<void> {
  await writeTree(root, {
    'usr/lib/systemd/systemd': elf(arch),
    'bin/sh': elf(arch),
    'etc/os-release': 'PRETTY_NAME="Test OS"\n',
    [`boot/vmlinuz-${pcVersion}`]: bzImage(pcVersion),
    ...modules(pcVersion),
  });
}
