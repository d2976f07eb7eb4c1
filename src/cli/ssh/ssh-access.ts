/** A key of the moment, with a certificate of the server: nothing of the user's own ~/.ssh is read or written. */
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { z } from 'zod';
import { run } from '../../process/run.ts';
import { withServer } from '../admin-client.ts';
import type { Context } from '../context.ts';

const Access = z.object({
  certificate: z.string(),
  config: z.string(),
  knownHosts: z.string(),
  nodes: z.array(z.object({ name: z.string(), address: z.string().optional() })),
});

export interface SshSession extends AsyncDisposable {
  readonly nodes: z.infer<typeof Access>['nodes'];
  /** Those without an address. */
  readonly unfound: readonly string[];
  /** For ssh, scp and sftp; nodes are known to them by their names. */
  readonly options: readonly string[];
}

/** Looked at when somebody logs in: with many nodes and long commands the last one's turn comes hours later. The key goes with us. */
const certificateSeconds = 24 * 3600;

export interface SshSessionOptions {
  readonly nodes: string;
  readonly user: string;
  readonly connectSeconds?: number;
}

export async function openSshSession(context: Context, { nodes, user, connectSeconds = 10 }: SshSessionOptions): Promise<SshSession> {
  await using stack = new AsyncDisposableStack();
  const folder = await mkdtemp(join(tmpdir(), 'cardless-ssh-'));
  stack.defer(() => rm(folder, { recursive: true, force: true }));
  const key = join(folder, 'key');
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'cardless', '-f', key], { signal: context.signal });
  const publicKey = (await readFile(`${key}.pub`, 'utf8')).trim();
  const request = { nodes, user, publicKey, seconds: certificateSeconds };
  const access = Access.parse(await withServer(context, (client) => client.call('POST', '/ssh', request)));
  const files = {
    'key-cert.pub': access.certificate,
    known_hosts: access.knownHosts,
    config: `${common(folder, connectSeconds)}${access.config}`,
  };
  await Promise.all(Object.entries(files).map(([name, text]) => writeFile(join(folder, name), `${text.trimEnd()}\n`, { mode: 0o600 })));
  const owned = stack.move();
  const unfound = access.nodes.filter(({ address }) => address === undefined).map(({ name }) => name);
  return { nodes: access.nodes, unfound, options: ['-F', join(folder, 'config')], [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** ssh_config(5): what stands first holds. */
function common(folder: string, connectSeconds: number): string {
  const options = {
    IdentityFile: join(folder, 'key'),
    CertificateFile: join(folder, 'key-cert.pub'),
    IdentitiesOnly: 'yes',
    IdentityAgent: 'none',
    PreferredAuthentications: 'publickey',
    UserKnownHostsFile: join(folder, 'known_hosts'),
    GlobalKnownHostsFile: '/dev/null',
    StrictHostKeyChecking: 'yes',
    UpdateHostKeys: 'no',
    CheckHostIP: 'no',
    BatchMode: 'yes',
    ConnectTimeout: String(connectSeconds),
    // A node that was switched off is noticed within half a minute.
    ServerAliveInterval: '10',
    ServerAliveCountMax: '3',
    ControlMaster: 'no',
    ControlPath: 'none',
    ForwardAgent: 'no',
    ForwardX11: 'no',
    LogLevel: 'ERROR',
  };
  return `Host *\n${Object.entries(options)
    .map(([name, value]) => `    ${name} ${value}\n`)
    .join('')}`;
}
