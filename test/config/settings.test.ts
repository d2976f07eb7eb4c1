import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { loadSettings } from '#src/config/load.ts';
import { findPlaces } from '#src/config/places.ts';

function settings(text: string): string {
  const file = join(mkdtempSync(join(tmpdir(), 'cardless-')), 'cardless.yaml');
  writeFileSync(file, text);
  return file;
}

test('a missing file is an empty one, unless it was named', async () => {
  expect(await loadSettings('/nonexistent.yaml', { mustExist: false })).toMatchObject({ httpPort: 8067, nbdPort: 10_809, interfaces: [] });
  await expect(loadSettings('/nonexistent.yaml', { mustExist: true })).rejects.toThrow('/nonexistent.yaml cannot be read');
});

test('an empty file has all defaults', async () => {
  expect(await loadSettings(settings('# nothing\n'), { mustExist: true })).toMatchObject({ defaultImage: 'debian-13' });
});

test('interfaces default to proxy', async () => {
  const file = settings(
    'interfaces:\n  - name: eth0\n  - name: eth1\n    mode: full\n    subnet: 192.168.50.0/24\n    pool: 192.168.50.100-192.168.50.120\n',
  );
  expect((await loadSettings(file, { mustExist: true })).interfaces).toMatchObject([
    { name: 'eth0', mode: 'proxy', dns: [] },
    {
      name: 'eth1',
      mode: 'full',
      subnet: { network: '192.168.50.0', prefix: 24 },
      pool: { first: '192.168.50.100', last: '192.168.50.120' },
    },
  ]);
});

test('all mistakes are told at once, each with its key', async () => {
  const file = settings('interfaces:\n  - name: eth0\n    subnet: 192.168.50.7/24\nleaseSeconds: 5\nauthorizedKeys: [hello]\nnbdport: 1\n');
  await expect(loadSettings(file, { mustExist: true })).rejects.toThrow(
    /wrong in 4 places:[\s\S]*interfaces\.0\.subnet: .*host bits set.*192\.168\.50\.0\/24[\s\S]*leaseSeconds: [\s\S]*authorizedKeys\.0: "hello" is not a public SSH key[\s\S]*nbdport/,
  );
});

test('everything lives below the state folder, and the cache may be shared', () => {
  const places = findPlaces({ state: '/srv/x', env: {} });
  expect([places.database, places.images, places.adminSocket, places.cache].every((path) => path.startsWith('/srv/x/'))).toBe(true);
  expect(findPlaces({ state: '/srv/x', env: { CARDLESS_CACHE: '/var/cache/cardless' } }).cache).toBe('/var/cache/cardless');
});

test('an installed system is the same one whether its folder was named or found', () => {
  const places = findPlaces({ state: '/var/lib/cardless', env: {} });
  expect([places.adminSocket, places.settingsFile]).toEqual(['/run/cardless/admin.sock', '/etc/cardless/cardless.yaml']);
  expect(places.exports).toBe('/var/lib/cardless/exports');
});
