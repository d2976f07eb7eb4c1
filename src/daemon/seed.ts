/**
 * The seed: a tar that the initramfs unpacks over the root at every boot. What needs users of the node, or directories that
 * may be links, is not in its place yet: it is in the stage, from which rootfs/agent/apply takes it.
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { createGzip } from 'node:zlib';
import { pack } from 'tar-stream';
import { projectRoot } from '../config/places.ts';
import type { Ipv4 } from '../domain/ipv4.ts';
import type { SeedFile } from '../policy/seed-file.ts';
import { stagedFiles } from '../policy/stage-files.ts';
import type { NodeIdentity } from './identity.ts';

export interface SeedOptions {
  /** As rendered for this node. */
  readonly files: readonly SeedFile[];
  /** As the stage has them. */
  readonly accounts: string;
  readonly identity: NodeIdentity;
  /** Of the host key. */
  readonly hostCertificate: string;
  readonly agentKey: string;
  readonly server: Ipv4;
  readonly httpPort: number;
}

export async function packSeed(options: SeedOptions): Promise<Buffer> {
  const { files, accounts } = options;
  const own = [...files, ...identityFiles(options), ...(await agentFiles(options))];
  return await packFiles([...own.filter(isInPlace), ...(await programFiles()), ...stagedFiles(own, accounts, isInPlace)]);
}

/** What reaches a running node: what is live through the stage, and the rest by name, so that it is left alone. */
export async function packRefresh({ files, accounts }: Pick<SeedOptions, 'files' | 'accounts'>): Promise<Buffer> {
  return await packFiles([...(await programFiles()), ...stagedFiles(files, accounts, (file) => !file.live)]);
}

function isInPlace({ own, gone, kept }: SeedFile): boolean {
  return !own && !gone && !kept;
}

async function packFiles(files: readonly SeedFile[]): Promise<Buffer> {
  const archive = pack();
  for (const { path, mode, text, bytes, link } of files) {
    const header = { name: path, mode, uid: 0, gid: 0, mtime: new Date(0) };
    if (link === undefined) {
      archive.entry({ ...header, type: 'file' }, bytes ?? text ?? '');
    } else {
      archive.entry({ ...header, type: 'symlink', linkname: link });
    }
  }
  archive.finalize();
  return await buffer(archive.pipe(createGzip()));
}

/** What makes this node itself: never in a plan, and never in a refresh. */
function identityFiles({ identity: { privateKey, publicKey, machineId }, hostCertificate }: SeedOptions): SeedFile[] {
  return [
    { path: 'etc/machine-id', mode: 0o444, text: `${machineId}\n` },
    { path: 'etc/ssh/ssh_host_ed25519_key', mode: 0o600, text: privateKey },
    { path: 'etc/ssh/ssh_host_ed25519_key.pub', mode: 0o644, text: `${publicKey}\n` },
    { path: 'etc/ssh/ssh_host_ed25519_key-cert.pub', mode: 0o644, text: `${hostCertificate}\n` },
  ];
}

async function agentText(name: string): Promise<string> {
  return await readFile(join(projectRoot, 'rootfs/agent', name), 'utf8');
}

const programs = { apply: 0o755, 'accounts.awk': 0o644 } as const;

async function programFiles(): Promise<SeedFile[]> {
  return await Promise.all(
    Object.entries(programs).map(async ([name, mode]) => ({ path: `usr/lib/cardless/${name}`, mode, text: await agentText(name) })),
  );
}

/** The key is where busybox wget takes it from its environment: see servers/http/node-key.ts. */
function agentConfig({ server, httpPort, agentKey }: SeedOptions): string {
  return `AGENT_SERVER='http://${server}:${httpPort}'\nAGENT_PROXY='http://agent:${agentKey}@${server}:${httpPort}'\n`;
}

const services = { agent: 'multi-user', 'first-boot': 'basic', 'every-boot': 'multi-user' } as const;

async function agentFiles(options: SeedOptions): Promise<SeedFile[]> {
  const scripts = { agent: 0o755, freezer: 0o644, 'run-hooks': 0o755, start: 0o755, vitals: 0o644, 'vitals.awk': 0o644 } as const;
  const programs = Object.entries(scripts).map(async ([name, mode]) => ({
    path: `usr/lib/cardless/${name}`,
    mode,
    text: await agentText(name),
  }));
  const units = Object.entries(services).map(async ([name, target]): Promise<SeedFile[]> => {
    const unit = `cardless-${name}.service`;
    return [
      { path: `etc/systemd/system/${unit}`, mode: 0o644, text: await agentText(unit) },
      { path: `etc/systemd/system/${target}.target.wants/${unit}`, mode: 0o777, link: `../${unit}` },
    ];
  });
  return [
    { path: 'etc/cardless/agent.conf', mode: 0o600, text: agentConfig(options) },
    ...(await Promise.all(programs)),
    ...(await Promise.all(units)).flat(),
  ];
}
