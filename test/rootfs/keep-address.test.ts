import { mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { projectRoot } from '#src/config/places.ts';
import { run } from '#src/process/run.ts';

async function keepAddress(
  files: Readonly<Record<string, string>>,
): Promise<{ run: (nic?: string) => Promise<string>; read: (name: string) => string }> {
  const directory = mkdtempSync(join(tmpdir(), 'cardless-keep-'));
  const root = join(directory, 'root');
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(root, dirname(name)), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  const lease = join(directory, 'lease');
  writeFileSync(
    lease,
    "LEASE_IP='10.0.0.5'\nLEASE_MASK='24'\nLEASE_ROUTER='10.0.0.1'\nLEASE_DNS='10.0.0.1 9.9.9.9'\nLEASE_DOMAIN='cluster.internal'\n",
  );
  const script = join(projectRoot, 'rootfs/initramfs/keep-address');
  const again = (nic = 'eth0'): Promise<string> => run('sh', [script, root, nic, lease]);
  await again();
  return { run: again, read: (name) => readFileSync(join(root, name), 'utf8') };
}

test('networkd keeps the very address of the boot, NetworkManager leaves the interface alone', async () => {
  const { read } = await keepAddress({});
  expect(read('etc/systemd/network/00-cardless.network')).toBe(
    '[Match]\nName=eth0\n\n[Network]\nAddress=10.0.0.5/24\nGateway=10.0.0.1\nDNS=10.0.0.1\nDNS=9.9.9.9\nDomains=cluster.internal\nKeepConfiguration=yes\n\n[DHCP]\nCriticalConnection=yes\n',
  );
  expect(read('etc/NetworkManager/conf.d/00-cardless.conf')).toBe(
    '[keyfile]\nunmanaged-devices=interface-name:eth0\n\n[device-cardless]\nmatch-device=interface-name:eth0\nmanaged=0\n',
  );
});

test('whatever the interface is called, all managers leave it alone, and only it', async () => {
  const { run, read } = await keepAddress({
    'etc/dhcpcd.conf': 'hostname\n',
    'etc/network/interfaces': 'iface enp3s0 inet dhcp\niface enp3s0d1 inet dhcp\n',
  });
  await run('enp3s0');
  expect(read('etc/systemd/network/00-cardless.network')).toContain('Name=enp3s0\n');
  expect(read('etc/NetworkManager/conf.d/00-cardless.conf')).toContain('interface-name:enp3s0\n');
  expect(read('etc/dhcpcd.conf')).toBe('# cardless: the root comes over it\ndenyinterfaces enp3s0\nhostname\n');
  expect(read('etc/network/interfaces')).toBe('# cardless: was dhcp\niface enp3s0 inet manual\niface enp3s0d1 inet dhcp\n');
});

test('dhcpcd denies the interface, in the first line and once, however often the node boots', async () => {
  const kept = await keepAddress({ 'etc/dhcpcd.conf': 'hostname\ninterface eth0\nstatic ip_address=10.0.0.9/24\n' });
  const first = kept.read('etc/dhcpcd.conf');
  expect(first).toBe('# cardless: the root comes over it\ndenyinterfaces eth0\nhostname\ninterface eth0\nstatic ip_address=10.0.0.9/24\n');
  await kept.run();
  expect(kept.read('etc/dhcpcd.conf')).toBe(first);
  await kept.run('eth1');
  expect(kept.read('etc/dhcpcd.conf')).toBe(first.replace('denyinterfaces eth0', 'denyinterfaces eth1'));
});

test('ifupdown treats the boot interface as manual and others as before, and its service stops nothing', async () => {
  const before = 'auto lo\niface lo inet loopback\nallow-hotplug eth0\niface eth0 inet dhcp\niface eth0 inet6 auto\niface eth1 inet dhcp\n';
  const { run, read } = await keepAddress({
    'etc/network/interfaces': before,
    'etc/network/interfaces.d/lan': '  iface eth0 inet static\n    address 10.0.0.9/24\n',
  });
  const after = before
    .replace('iface eth0 inet dhcp', '# cardless: was dhcp\niface eth0 inet manual')
    .replace('iface eth0 inet6 auto', '# cardless: was auto\niface eth0 inet6 manual');
  expect(read('etc/network/interfaces')).toBe(after);
  expect(read('etc/network/interfaces.d/lan')).toBe('# cardless: was static\n  iface eth0 inet manual\n    address 10.0.0.9/24\n');
  expect(read('etc/systemd/system/networking.service.d/10-cardless.conf')).toBe('[Service]\nExecStop=\n');
  await run();
  expect(read('etc/network/interfaces')).toBe(after);
  await run('eth1');
  expect(read('etc/network/interfaces')).toBe(before.replace('iface eth1 inet dhcp', '# cardless: was dhcp\niface eth1 inet manual'));
  expect(read('etc/network/interfaces.d/lan')).toBe('  iface eth0 inet static\n    address 10.0.0.9/24\n');
});

test('what somebody made of an interface on the node stays, and no remark piles up', async () => {
  const { run, read } = await keepAddress({ 'etc/network/interfaces': '# cardless: was dhcp\niface eth1 inet loopback\n' });
  await run();
  await run();
  expect(read('etc/network/interfaces')).toBe('iface eth1 inet loopback\n');
});

test('cloud-init does not render a network of its own', async () => {
  const { read } = await keepAddress({ 'etc/cloud/cloud.cfg': '' });
  expect(read('etc/cloud/cloud.cfg.d/99-cardless.cfg')).toBe('network: {config: disabled}\n');
  const wanted = await keepAddress({ 'etc/cloud/cloud.cfg.d/99-cardless.cfg': 'x', 'etc/cardless/cloud-init/network-config': '{}' });
  expect(() => wanted.read('etc/cloud/cloud.cfg.d/99-cardless.cfg')).toThrow('ENOENT');
});
