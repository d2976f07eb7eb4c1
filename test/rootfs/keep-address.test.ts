import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { projectRoot } from '#src/config/places.ts';
import { run } from '#src/process/run.ts';

async function keepAddress(
  files: Readonly<Record<string, string>>,
): Promise<{ run: () => Promise<string>; read: (name: string) => string }> {
  const directory = mkdtempSync(join(tmpdir(), 'cardless-keep-'));
  const root = join(directory, 'root');
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(root, dirname(name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  const lease = join(directory, 'lease');
  writeFileSync(lease, "LEASE_IP='10.0.0.5'\nLEASE_MASK='24'\nLEASE_ROUTER='10.0.0.1'\nLEASE_DNS='10.0.0.1 9.9.9.9'\n");
  const script = join(projectRoot, 'rootfs/initramfs/keep-address');
  const again = (): Promise<string> => run('sh', [script, root, 'eth0', lease]);
  await again();
  return { run: again, read: (name) => readFileSync(join(root, name), 'utf8') };
}

test('networkd keeps the very address of the boot, NetworkManager leaves the interface alone', async () => {
  const { read } = await keepAddress({});
  expect(read('etc/systemd/network/00-cardless.network')).toBe(
    '[Match]\nName=eth0\n\n[Network]\nAddress=10.0.0.5/24\nGateway=10.0.0.1\nDNS=10.0.0.1\nDNS=9.9.9.9\nKeepConfiguration=yes\n',
  );
  expect(read('etc/NetworkManager/conf.d/00-cardless.conf')).toBe('[keyfile]\nunmanaged-devices=interface-name:eth0\n');
});

test('dhcpcd denies the interface, in the first line and once, however often the node boots', async () => {
  const kept = await keepAddress({ 'etc/dhcpcd.conf': 'hostname\ninterface eth0\nstatic ip_address=10.0.0.9/24\n' });
  await kept.run();
  expect(kept.read('etc/dhcpcd.conf')).toBe('denyinterfaces eth0\nhostname\ninterface eth0\nstatic ip_address=10.0.0.9/24\n');
});

test('ifupdown treats the boot interface as manual and others as before, and its service stops nothing', async () => {
  const { read } = await keepAddress({
    'etc/network/interfaces': 'auto lo\niface lo inet loopback\nallow-hotplug eth0\niface eth0 inet dhcp\niface eth1 inet dhcp\n',
    'etc/network/interfaces.d/lan': '  iface eth0 inet static\n    address 10.0.0.9/24\n',
  });
  expect(read('etc/network/interfaces')).toBe(
    'auto lo\niface lo inet loopback\nallow-hotplug eth0\niface eth0 inet manual\niface eth1 inet dhcp\n',
  );
  expect(read('etc/network/interfaces.d/lan')).toBe('  iface eth0 inet manual\n    address 10.0.0.9/24\n');
  expect(read('etc/systemd/system/networking.service.d/10-cardless.conf')).toBe('[Service]\nExecStop=\n');
});

test('cloud-init does not render a network of its own', async () => {
  const { read } = await keepAddress({ 'etc/cloud/cloud.cfg': '' });
  expect(read('etc/cloud/cloud.cfg.d/99-cardless.cfg')).toBe('network: {config: disabled}\n');
  const wanted = await keepAddress({ 'etc/cloud/cloud.cfg.d/99-cardless.cfg': 'x', 'etc/cardless/cloud-init/network-config': '{}' });
  expect(() => wanted.read('etc/cloud/cloud.cfg.d/99-cardless.cfg')).toThrow('ENOENT');
});
