/** The seed: a tar that the initramfs unpacks over the root at every boot. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { createGzip } from 'node:zlib';
import { pack } from 'tar-stream';
import { projectRoot } from '../config/places.ts';
import type { Ipv4 } from '../domain/ipv4.ts';
import type { SeedFile } from '../policy/render-seed.ts';
import type { HostKey } from './identity.ts';

export interface SeedOptions {
  /** As rendered for this node. */
  readonly files: readonly SeedFile[];
  readonly hostKey: HostKey;
  readonly agentKey: string;
  readonly server: Ipv4;
  readonly httpPort: number;
}

export async function packSeed(options: SeedOptions): Promise<Buffer> {
  const archive = pack();
  for (const { path, mode, text, link } of [...options.files, ...keyFiles(options.hostKey), ...(await agentFiles(options))]) {
    const header = { name: path, mode, uid: 0, gid: 0, mtime: new Date(0) };
    if (link === undefined) {
      archive.entry({ ...header, type: 'file' }, text ?? '');
    } else {
      archive.entry({ ...header, type: 'symlink', linkname: link });
    }
  }
  archive.finalize();
  return await buffer(archive.pipe(createGzip()));
}

function keyFiles({ privateKey, publicKey }: HostKey): SeedFile[] {
  return [
    { path: 'etc/ssh/ssh_host_ed25519_key', mode: 0o600, text: privateKey },
    { path: 'etc/ssh/ssh_host_ed25519_key.pub', mode: 0o644, text: `${publicKey}\n` },
  ];
}

async function agentFiles({ server, httpPort, agentKey }: SeedOptions): Promise<SeedFile[]> {
  const agentDirectory = join(projectRoot, 'rootfs/agent');
  const names = ['agent', 'cardless-agent.service', 'freezer'];
  const [agent = '', unit = '', freezer = ''] = await Promise.all(names.map((name) => readFile(join(agentDirectory, name), 'utf8')));
  const unitFile = 'cardless-agent.service';
  return [
    { path: 'usr/lib/cardless/agent', mode: 0o755, text: agent },
    { path: 'usr/lib/cardless/freezer', mode: 0o644, text: freezer },
    { path: 'etc/cardless/agent.conf', mode: 0o600, text: `AGENT_SERVER='http://${server}:${httpPort}'\nAGENT_KEY='${agentKey}'\n` },
    { path: `etc/systemd/system/${unitFile}`, mode: 0o644, text: unit },
    { path: `etc/systemd/system/multi-user.target.wants/${unitFile}`, mode: 0o777, link: `../${unitFile}` },
  ];
}
