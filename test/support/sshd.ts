/** Real OpenSSH servers that play nodes, each in a network name space of its own, with keys that the cluster's authority signed. */
import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import type { SshCa } from '#src/daemon/ssh-ca.ts';
import { parseMac } from '#src/domain/mac.ts';
import { type Child, startChild } from '#src/process/supervise.ts';
import { insideNamespace, type Lab } from '#src/sim/lab.ts';
import { ran, until } from './lab-server.ts';
import { unpackedCommand } from './unpacked.ts';

const sshd = { name: 'sshd', packages: ['openssh-server'], program: 'usr/sbin/sshd', probe: ['-t', '-f', '/dev/null'] };

export interface SshNode {
  readonly name: string;
  readonly namespace: string;
  readonly said: readonly string[];
}

export interface SshNodeOptions {
  readonly lab: Lab;
  readonly folder: string;
  readonly name: string;
  readonly address: string;
  /** Signs its host key. */
  readonly hostCa: SshCa;
  /** Whose certificates let users in. */
  readonly userCa: SshCa;
}

let boards = 0;

export async function plugIn(lab: Lab, address: string): Promise<string> {
  boards += 1;
  const namespace = await lab.addBoard(parseMac(`52:54:00:00:01:${boards.toString(16).padStart(2, '0')}`));
  await execa('ip', ['-n', namespace, 'address', 'add', `${address}/24`, 'dev', 'eth0']);
  return namespace;
}

/** The program as a mount name space shows it: a /run of its own, and the user that it wants to drop to. */
export async function startSshNode(options: SshNodeOptions, stack: AsyncDisposableStack): Promise<SshNode> {
  const { lab, name, address, hostCa, userCa } = options;
  const folder = await mkdtemp(join(options.folder, `${name}-`));
  const key = join(folder, 'ssh_host_ed25519_key');
  await execa('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', key]);
  const publicKey = (await readFile(`${key}.pub`, 'utf8')).trim();
  await writeFile(`${key}-cert.pub`, `${await hostCa.signHost(publicKey, [name, `${name}.cluster.internal`])}\n`);
  await writeFile(join(folder, 'user_ca.pub'), `${await userCa.publicKey()}\n`);
  await writeFile(
    join(folder, 'sshd_config'),
    [
      `ListenAddress ${address}`,
      `HostKey ${key}`,
      `HostCertificate ${key}-cert.pub`,
      `TrustedUserCAKeys ${join(folder, 'user_ca.pub')}`,
      'AuthorizedKeysFile none',
      'PasswordAuthentication no',
      'KbdInteractiveAuthentication no',
      'PermitRootLogin prohibit-password',
      'UsePAM no',
      'PidFile none',
      'MaxStartups 100',
      'Subsystem sftp internal-sftp',
      '',
    ].join('\n'),
  );
  await mkdir(join(folder, 'etc'));
  const passwd = await readFile('/etc/passwd', 'utf8');
  await writeFile(join(folder, 'passwd'), `${passwd.replace(/^sshd:.*\n/m, '')}sshd:x:65533:65534::/run/sshd:/usr/sbin/nologin\n`);
  const [file, args] = await unpackedCommand(sshd, ['-D', '-e', '-f', join(folder, 'sshd_config')]);
  const enter = `mount --bind '${join(folder, 'passwd')}' /etc/passwd && mount -t tmpfs tmpfs /run && mkdir /run/sshd && exec "$@"`;
  const namespace = await plugIn(lab, address);
  const said: string[] = [];
  const child: Child = stack.use(
    startChild(...insideNamespace(namespace, 'unshare', ['--mount', 'sh', '-c', enter, 'sh', file, ...args]), {
      graceMs: 5000,
      onLine: (line) => said.push(line),
    }),
  );
  let isOver = false;
  void child.ended.then(() => {
    isOver = true;
  });
  await until(async () => {
    if (isOver) {
      throw new Error(`sshd of ${name} ended:\n${said.join('\n')}`);
    }
    return (await ran(...insideNamespace(namespace, 'ss', ['-Hltn', 'sport = :22']))).stdout !== '';
  }, `sshd of ${name}`);
  return { name, namespace, said };
}
