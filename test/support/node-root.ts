/** A root of a node without the node: a tree in which rootfs/agent/apply runs by chroot, as in the initramfs. */
import {
  chmodSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readlinkSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { findPlaces } from '#src/config/places.ts';
import { NodeContents } from '#src/daemon/fleet/node-contents.ts';
import type { NodeIdentity } from '#src/daemon/identity.ts';
import { packRefresh, packSeed } from '#src/daemon/seed.ts';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import type { NodeSettings } from '#src/domain/node-settings.ts';
import { ensureNodePrograms } from '#src/images/node-programs.ts';
import type { NodeServices } from '#src/policy/render-service-files.ts';
import type { SeedFile } from '#src/policy/seed-file.ts';
import { accountsText } from '#src/policy/stage-files.ts';
import { run } from '#src/process/run.ts';
import { operatorKey, testNode } from './nodes.ts';

export const debianRoot: Readonly<Record<string, string>> = {
  'etc/passwd': 'root:x:0:0:root:/root:/bin/bash\ndaemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin\npi:x:1000:1000:,,,:/home/pi:/bin/bash\n',
  'etc/group': 'root:x:0:\ndaemon:x:1:\nadm:x:4:pi\npi:x:1000:\n',
  'etc/shadow': 'root:*:20000:0:99999:7:::\ndaemon:*:20000:0:99999:7:::\npi:$y$j9T$abc:20000:0:99999:7:::\n',
  'etc/gshadow': 'root:*::\ndaemon:*::\nadm:*::pi\npi:!::\n',
  'etc/skel/.profile': '# profile\n',
  'etc/motd': 'of the image\n',
  'usr/lib/systemd/systemd': '',
  'usr/sbin/sshd': '',
  'usr/bin/sudo': '',
};

const base = join(tmpdir(), 'cardless-node-');

export interface RootOptions {
  /** A root that is there already, and stays. */
  readonly root?: string;
  readonly identity?: NodeIdentity;
  readonly sshCa?: string;
  readonly hostCertificate?: string;
  readonly services?: NodeServices;
}

export async function nodeRoot(files: Readonly<Record<string, string>> = debianRoot, options: RootOptions = {}) {
  const root = options.root ?? mkdtempSync(base);
  const { identity = { privateKey: 'private', publicKey: 'public', machineId: 'f'.repeat(32) }, hostCertificate = 'certificate' } = options;
  const at = (path: string): string => join(root, path);
  for (const directory of ['dev', 'proc', 'run/cardless/disks/root', 'home', 'etc']) {
    mkdirSync(at(directory), { recursive: true });
  }
  for (const [path, text] of Object.entries(files)) {
    for (const place of [at(path), at(`run/cardless/disks/root/${path}`)]) {
      mkdirSync(dirname(place), { recursive: true });
      writeFileSync(place, text);
    }
  }
  for (const name of ['shadow', 'gshadow'].filter((file) => existsSync(at(`etc/${file}`)))) {
    chmodSync(at(`etc/${name}`), 0o640);
  }
  const signal = new AbortController().signal;
  const { busybox } = await ensureNodePrograms({ cache: findPlaces({ env: process.env }).cache, arch: 'amd64', signal });
  cpSync(busybox, at('run/cardless/busybox'));
  // What chroot itself has in place of a device.
  if (options.root === undefined) {
    writeFileSync(at('dev/null'), '');
  }

  const contents = new NodeContents({
    authorizedKeys: [operatorKey],
    domain: 'cluster.internal',
    sshCa: options.sshCa ?? 'ssh-ed25519 AAAA ca',
    addressOf: () => undefined,
    archOf: () => 'arm64',
    drawOf: () => undefined,
    servicesOf: () => options.services ?? {},
    nextImages: (nodes) => Promise.resolve(nodes.map(() => [])),
  });
  const filesFor = (settings: NodeSettings): readonly SeedFile[] => {
    const node = testNode('red5', { own: settings });
    return contents.of(node, [node]).files;
  };
  const unpack = async (archive: Buffer, directory: string): Promise<void> => {
    mkdirSync(directory, { recursive: true });
    writeFileSync(at('run/seed.tgz'), archive);
    await run(busybox, ['tar', '-xzf', at('run/seed.tgz'), '-C', directory]);
  };
  const apply = async (...words: string[]): Promise<string[]> => {
    const said = await run('chroot', [root, '/run/cardless/busybox', 'sh', ...words]);
    return said.split('\n').filter((line) => line !== '');
  };
  const unpackSeed = async (settings: NodeSettings, httpPort = 80): Promise<void> => {
    const seed = await packSeed({
      files: filesFor(settings),
      accounts: accountsText(settings),
      identity,
      hostCertificate,
      agentKey: 'key',
      server: parseIpv4('127.0.0.1'),
      httpPort,
    });
    await unpack(seed, root);
  };
  return {
    filesFor,
    root,
    /** A program of busybox in this root. */
    run: async (...words: string[]): Promise<string[]> => await apply(...words),
    at,
    read: (path: string) => readFileSync(at(path), 'utf8'),
    link: (path: string) => readlinkSync(at(path)),
    exists: (path: string) => existsSync(at(path)),
    /** As `644 0:0`. */
    stat: (path: string) => {
      const { mode, uid, gid } = lstatSync(at(path));
      return `${(mode & 0o7777).toString(8)} ${uid}:${gid}`;
    },
    unpackSeed,
    /** What it said. */
    boot: async (settings: NodeSettings, httpPort = 80): Promise<string[]> => {
      await unpackSeed(settings, httpPort);
      return await apply('/usr/lib/cardless/apply');
    },
    refresh: async (settings: NodeSettings): Promise<string[]> => {
      const archive = await packRefresh({ files: filesFor(settings), accounts: accountsText(settings) });
      await unpack(archive, at('run/cardless/refresh'));
      const programs = '/run/cardless/refresh/usr/lib/cardless';
      return await apply(`${programs}/apply`, `${programs}/stage`, 'live');
    },
    [Symbol.dispose]: () => {
      if (options.root === undefined) {
        rmSync(root, { recursive: true, force: true });
      }
    },
  };
}
