/** What an imported root is: architecture, name, and whether somebody can log in. */
import { UserError } from '../../domain/errors.ts';
import { type Architecture, architectures } from '../../domain/image.ts';
import type { TreeAccess } from '../tree-access.ts';

/** elf(5), e_machine. */
const machines: Readonly<Record<number, string>> = {
  3: 'i386',
  8: 'mips',
  21: 'ppc64el',
  22: 's390x',
  40: 'armhf',
  62: 'amd64',
  183: 'arm64',
  243: 'riscv64',
};
/** One of them is in every root. */
const programs = ['sbin/init', 'usr/lib/systemd/systemd', 'lib/systemd/systemd', 'bin/sh', 'usr/bin/env', 'bin/busybox'];

/** @throws UserError bad-input: no system, an architecture that is not supported, or not the one that was asked for */
export async function systemArch(tree: TreeAccess, wanted: Architecture | undefined): Promise<Architecture> {
  const found = await machineOf(tree);
  if (found === undefined) {
    throw new UserError('bad-input', 'There is no system in it: neither /sbin/init nor /bin/sh is a program', {
      hint: 'What is imported must be a whole root, with /etc, /usr and /lib at its top',
    });
  }
  const arch = architectures.find((name) => name === found);
  if (arch === undefined) {
    throw new UserError('bad-input', `The system in it is for ${found}`, { hint: `Supported are: ${architectures.join(', ')}` });
  }
  if (wanted !== undefined && wanted !== arch) {
    throw new UserError('bad-input', `The system in it is for ${arch}, and not for ${wanted}`, {
      hint: 'Leave --arch away, or give another source',
    });
  }
  return arch;
}

async function machineOf(tree: TreeAccess): Promise<string | undefined> {
  for (const program of programs) {
    const head = await tree.head(program, 20);
    if (head && head.length === 20 && head.readUInt32BE(0) === 0x7f45_4c46) {
      const machine = head.readUInt16LE(18);
      return machines[machine] ?? `an unknown architecture (ELF machine ${machine})`;
    }
  }
  return undefined;
}

export async function systemName(tree: TreeAccess): Promise<string> {
  const text = (await tree.read('etc/os-release')) ?? (await tree.read('usr/lib/os-release')) ?? '';
  return /^PRETTY_NAME="?([^"\n]*)"?$/m.exec(text)?.[1]?.replaceAll(/[^ -~]/g, '?') ?? 'A system without a name';
}

/** Things that an operator should know before the first boot. */
export async function systemNotes(tree: TreeAccess): Promise<string[]> {
  const has = async (...paths: string[]): Promise<boolean> => (await Promise.all(paths.map((path) => tree.has(path)))).includes(true);
  const notes: string[] = [];
  const sshd = await has('usr/sbin/sshd');
  const wanted = 'etc/systemd/system/multi-user.target.wants';
  const enabled = await has(
    `${wanted}/ssh.service`,
    `${wanted}/sshd.service`,
    'etc/systemd/system/sockets.target.wants/ssh.socket',
    'etc/rc2.d/S01ssh',
  );
  if (!sshd) {
    notes.push('There is no SSH server in it: nodes can only be used at their console');
  } else if (!enabled) {
    notes.push('Its SSH server is off (Raspberry Pi OS ships it so): enable ssh.service in the system before it is imported');
  }
  if (!(await has('usr/lib/systemd/systemd', 'lib/systemd/systemd'))) {
    notes.push('It has no systemd: nodes boot it, but the agent that reports "ready" is a systemd service');
  }
  return notes;
}

/** What the initramfs cannot do without, and no other module can stand in for. */
const needed = ['nbd', 'overlay'];

/** @param lists modules.dep and modules.builtin of a kernel, in one text */
export function missingModules(lists: string): string[] {
  return needed.filter((name) => !new RegExp(`/${name}\\.ko`).test(lists));
}
