import { expect, test } from 'vitest';
import { debianRoot, nodeRoot } from '../support/node-root.ts';

test('cloud-init finds its seed where it looks for it; a root without cloud-init has nothing of it', async () => {
  using node = await nodeRoot({ ...debianRoot, 'etc/cloud/cloud.cfg': 'users: [default]\n' });
  const wlan = { version: 2, ethernets: { wlan0: {} } };
  expect(await node.boot({ cloudInit: { userData: { runcmd: ['true'] }, networkConfig: wlan } })).toEqual([]);
  expect(node.read('etc/cloud/cloud.cfg.d/98-cardless.cfg')).toMatch(/^datasource_list: \[NoCloud, None\]\n/);
  expect(node.read('var/lib/cloud/seed/nocloud/user-data')).toBe('#cloud-config\n{\n  "runcmd": [\n    "true"\n  ]\n}\n');
  expect([node.stat('var/lib/cloud/seed/nocloud/user-data'), node.exists('var/lib/cloud/seed/nocloud/network-config')]).toEqual([
    '600 0:0',
    true,
  ]);
  await node.boot({});
  expect(node.read('var/lib/cloud/seed/nocloud/user-data')).toBe('#cloud-config\n{}\n');
  expect(node.exists('var/lib/cloud/seed/nocloud/network-config')).toBe(false);
  using plain = await nodeRoot();
  await plain.boot({ cloudInit: { userData: {} } });
  expect([plain.exists('var/lib/cloud'), plain.exists('etc/cloud')]).toEqual([false, false]);
});
