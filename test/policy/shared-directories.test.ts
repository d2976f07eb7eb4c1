import { describe, expect, test } from 'vitest';
import { UserError } from '#src/domain/errors.ts';
import { type Ipv4, parseIpv4 } from '#src/domain/ipv4.ts';
import type { SharedDirectory } from '#src/domain/node-settings.ts';
import { serviceFiles, unitName } from '#src/policy/render-service-files.ts';
import { chooseNfsServer, exportsOf, ganeshaConfig, kernelExports, type Sharer } from '#src/policy/shared-directories.ts';

const server: Ipv4 = parseIpv4('10.78.0.1');
const node = (last: number, shared?: readonly SharedDirectory[]): Sharer => ({
  address: parseIpv4(`10.78.0.${last}`),
  settings: shared === undefined ? {} : { shared },
});
const nodes = [
  node(20, [
    { name: 'shared', writable: true },
    { name: 'jobs', writable: true },
  ]),
  node(21, [{ name: 'shared' }]),
  node(22),
  node(23, []),
];
const exports = exportsOf(nodes, '/srv/cardless');

describe('who may mount what', () => {
  test('by name, to the addresses of nodes; /mnt/shared to read where nothing is said, nothing where that is said', () => {
    expect(exports).toEqual([
      { path: '/srv/cardless/jobs', clients: [{ address: '10.78.0.20', writable: true }] },
      {
        path: '/srv/cardless/shared',
        clients: [
          { address: '10.78.0.20', writable: true },
          { address: '10.78.0.21', writable: false },
          { address: '10.78.0.22', writable: false },
        ],
      },
    ]);
  });
  test('as the kernel reads it', () => {
    expect(kernelExports(exports).split('\n')).toEqual([
      '/srv/cardless/jobs 10.78.0.20(rw,sync,subtree_check,root_squash,secure,sec=sys)',
      '/srv/cardless/shared 10.78.0.20(rw,sync,subtree_check,root_squash,secure,sec=sys) 10.78.0.21(ro,sync,subtree_check,root_squash,secure,sec=sys) 10.78.0.22(ro,sync,subtree_check,root_squash,secure,sec=sys)',
      '',
    ]);
  });
  test('as NFS-Ganesha reads it: nobody has access but those that are named', () => {
    const config = ganeshaConfig({ address: server, port: 2049, recovery: '/var/lib/cardless/nfs/eth1', exports });
    expect(config).toMatch(/Bind_addr = 10\.78\.0\.1; NFS_Port = 2049;/);
    expect(config).toMatch(/EXPORT_DEFAULTS \{.*Access_Type = None; Squash = root_squash;.*PrivilegedPort = true; \}/);
    expect(config).toContain('CLIENT { Clients = 10.78.0.21, 10.78.0.22; Access_Type = RO; Protocols = 4; }');
  });
  test('the number of an export stays whatever others come and go', () => {
    const idOf = (all: typeof exports): string | undefined =>
      /Export_Id = (\d+); Path = \/srv\/cardless\/shared;/.exec(
        ganeshaConfig({ address: server, port: 2049, recovery: '/r', exports: all }),
      )?.[1];
    expect(idOf(exports)).toMatch(/^[1-9]\d*$/);
    expect(idOf(exports.slice(1))).toBe(idOf(exports));
    const many = exportsOf(
      [
        node(
          20,
          Array.from({ length: 2000 }, (_, index) => ({ name: `d${index}` })),
        ),
      ],
      '/srv',
    );
    const ids = [...ganeshaConfig({ address: server, port: 2049, recovery: '/r', exports: many }).matchAll(/Export_Id = (\d+)/g)].map(
      ([, id]) => id,
    );
    expect(new Set(ids).size).toBe(2000);
  });
  test.each(['/srv/a b', '/srv/"x"', '/srv/x;y', '/srv/x\ny'])('the path %j is refused by both, and not mistaken by one', (base) => {
    const bad = exportsOf(nodes, base);
    expect(() => kernelExports(bad)).toThrow(UserError);
    expect(() => ganeshaConfig({ address: server, port: 2049, recovery: '/r', exports: bad })).toThrow(/cannot be exported/);
  });
});

test.each([
  [true, true, true, { kind: 'kernel' }],
  [true, true, false, { kind: 'kernel' }],
  [true, false, true, { kind: 'missing', packages: 'nfs-kernel-server' }],
  [false, true, true, { kind: 'ganesha' }],
  [false, true, false, { kind: 'missing', packages: 'nfs-ganesha' }],
] as const)('nfsd in the kernel %j, exportfs %j, ganesha %j', (hasKernelServer, hasExportfs, hasGanesha, want) => {
  expect(chooseNfsServer({ hasKernelServer, hasExportfs, hasGanesha })).toEqual(want);
});

test('a node mounts it when somebody looks there, waits for a server that is away, and trusts no file of it', () => {
  const shared = {
    server,
    base: '/srv/cardless',
    directories: [
      { name: 'jobs', writable: true },
      { name: 'home', at: '/home' },
    ],
  };
  const files = serviceFiles({ shared });
  expect(files.map(({ path, link }) => [path, link])).toEqual([
    ['etc/systemd/system/mnt-jobs.mount', undefined],
    ['etc/systemd/system/mnt-jobs.automount', undefined],
    ['etc/systemd/system/remote-fs.target.wants/mnt-jobs.automount', '../mnt-jobs.automount'],
    ['etc/systemd/system/home.mount', undefined],
    ['etc/systemd/system/home.automount', undefined],
    ['etc/systemd/system/remote-fs.target.wants/home.automount', '../home.automount'],
  ]);
  expect(files[0]?.text).toContain('What=10.78.0.1:/srv/cardless/jobs\nWhere=/mnt/jobs\nType=nfs4\n');
  expect(files[0]?.text).toMatch(/^Options=addr=10\.78\.0\.1,.*\bhard\b.*nosuid,nodev,rw$/m);
  expect(files[3]?.text).toMatch(/^Options=.*,ro$/m);
});

test.each([
  ['/mnt/shared', 'mnt-shared'],
  ['/mnt/my-jobs', 'mnt-my\\x2djobs'],
  ['/home', 'home'],
  ['/.hidden/x y', '\\x2ehidden-x\\x20y'],
  ['/srv//ä', 'srv-\\xc3\\xa4'],
])('the unit of %s is %s', (path, name) => {
  expect(unitName(path)).toBe(name);
});
