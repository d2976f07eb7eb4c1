import { copyFile, mkdir, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { findPlaces } from '#src/config/places.ts';
import { parseImageName } from '#src/domain/image.ts';
import { ImageCatalog } from '#src/images/catalog.ts';
import { pcSerial, ready, realImages, virtualPc } from '../test/support/guests.ts';
import { cardless, startLab } from '../test/support/lab-server.ts';
import { makeDisk, must, removeScratch, scratch, writeTree } from '../test/support/pi-card.ts';

afterAll(removeScratch);

/** Debian on the disk of a PC, shut down and taken out: with fstab, swap, keys, and a networkd that wants every NIC. */
async function pcDisk(folder: string): Promise<string> {
  const catalog = new ImageCatalog(realImages);
  const image = await catalog.newest(parseImageName('debian-13'), 'amd64');
  if (!image) {
    throw new Error('there is no image debian-13 for amd64: sudo ./cardless image build');
  }
  const root = join(folder, 'root');
  await must('fsck.erofs', `--extract=${root}`, '--preserve', catalog.pathOf(image.digest, 'root.img'));
  await mkdir(join(root, 'boot'), { recursive: true });
  await copyFile(catalog.pathOf(image.digest, 'boot/vmlinuz'), join(root, 'boot', `vmlinuz-${image.kernelVersion}`));
  await writeTree(root, {
    'etc/fstab':
      'UUID=0b6f6c8e-6d7c-4b6f-8b1c-111111111111 / ext4 errors=remount-ro 0 1\n/swapfile none swap sw 0 0\n/dev/sdb1 /data ext4 defaults 0 2\n',
    swapfile: Buffer.alloc(65_536),
    'etc/machine-id': '0123456789abcdef0123456789abcdef\n',
    'etc/ssh/ssh_host_ed25519_key': 'a key that all boards would share\n',
    'etc/systemd/network/10-all.network': '[Match]\nType=ether\n\n[Network]\nDHCP=yes\n',
    'usr/lib/systemd/system/userconfig.service':
      '[Unit]\nBefore=multi-user.target\n[Service]\nType=oneshot\nTimeoutStartSec=infinity\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n',
  });
  const wants = join(root, 'etc/systemd/system/multi-user.target.wants');
  for (const unit of ['systemd-networkd.service', 'userconfig.service']) {
    await symlink(`/usr/lib/systemd/system/${unit}`, join(wants, unit));
  }
  const [esp, ext] = [join(folder, 'esp.fat'), join(folder, 'root.ext4')];
  await must('mkfs.vfat', '-C', esp, '8192');
  await must('mkfs.ext4', '-q', '-F', '-d', root, ext, '480M');
  await rm(root, { recursive: true });
  const disk = await makeDisk(join(folder, 'pc.img'), 'label: gpt\n', [
    { file: esp, type: 'U' },
    { file: ext, type: 'L' },
  ]);
  await must('zstd', '-q', '-1', '-T0', '--rm', disk);
  return `${disk}.zst`;
}

test('a PC whose disk image was imported boots to ready, and nothing of the disk is in its way', async () => {
  const disk = await pcDisk(await scratch('disk'));
  // Outside of the lab: busybox for the initramfs may have to be fetched.
  const importer = await scratch('importer');
  const env = { CARDLESS_CACHE: findPlaces({ env: process.env }).cache };
  const imported = await cardless(['--state', importer, 'image', 'import', disk, '--name', 'old-pc', '--arch', 'amd64'], { env });
  expect(imported).toMatchObject({ code: 0 });
  expect(imported.stdout).toMatch(/Debian GNU\/Linux 13.* for amd64, from pc\.img\.zst \(disk image \(zstd\)\)/);
  expect(imported.stdout).toMatch(/userconfig\.service: masked/);
  await using lab = await startLab('import');
  const state = ['--state', lab.state];
  await symlink(join(importer, 'images'), join(lab.state, 'images'));
  expect((await cardless([...state, 'node', 'add', 'pc1', '--serial', pcSerial, '--image', 'old-pc'])).code).toBe(0);
  await using pc = virtualPc(lab);
  await pc.powerOn();
  await ready(lab.server, 'pc1', pc);
  const ssh = (command: string): Promise<string> => lab.server.ssh('pc1', command, new AbortController().signal);
  // What networkctl shows, which needs a D-Bus that a small system does not have.
  const link = await ssh('systemctl is-active systemd-networkd; cat /run/systemd/netif/links/$(cat /sys/class/net/eth0/ifindex)');
  expect(link).toMatch(/^active\n/);
  expect(link).toMatch(/^ADMIN_STATE=configured$/m);
  expect(link).toMatch(/^NETWORK_FILE=\/etc\/systemd\/network\/00-cardless\.network$/m);
  expect(await ssh('ip -o -4 address show eth0')).not.toContain('dynamic');
  expect(await ssh('systemctl --failed --no-legend')).toBe('');
  expect(await ssh('wc -l </proc/swaps; cat /etc/machine-id; test -e /swapfile || echo gone')).toMatch(
    /^1\n(?!0123456789abcdef)[0-9a-f]{32}\ngone$/,
  );
  await ssh('systemctl restart systemd-networkd && sync && cat /usr/bin/* >/dev/null && echo wrote >/root/after && sync');
  expect(await ssh('cat /root/after; findmnt -n -o FSTYPE /')).toBe('wrote\noverlay');
  expect(await ssh('dmesg')).not.toMatch(/I\/O error/);
});
