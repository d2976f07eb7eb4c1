/** What the server does before it uses a disk that a node could write to: root there wrote every byte of it. */
import { open } from 'node:fs/promises';
import { UserError } from '../domain/errors.ts';
import type { NodeName } from '../domain/node.ts';
import { loopDeviceOf } from '../process/loop-devices.ts';
import { mortalCommand, run } from '../process/run.ts';
import { outsideJournal, superblockBytes, superblockOffset } from '../protocol/ext4/superblock.ts';

export interface Checked {
  readonly ok: boolean;
  /** For the timeline of the boot: `clean`, `journal replayed`, `repaired`, or what is wrong. */
  readonly result: string;
}

export interface CheckOptions {
  /** All of it, also where it says of itself that it is clean. */
  readonly full?: boolean;
  readonly signal?: AbortSignal;
}

/**
 * e2fsck without this machine's devices: a journal, which it replays, may bring a superblock that names one of them. What
 * it ends with is told in words, for the programs around it have exit codes of their own. It ends when its shell is ended.
 */
const script =
  'exec 2>&1; mount -t tmpfs none /dev && : >/dev/null || exit; setpriv --pdeathsig KILL e2fsck "$@"; echo "e2fsck ended with $?"';
/** e2fsck(8): 0 to 2 is a disk that is whole now. */
const wholeCodes = ['0', '1', '2'];

/**
 * What a power cut leaves behind is put right; what needs a person's decision is left alone. Cheap when it is clean.
 * @throws UserError failed when it could not be checked
 */
export async function checkDisk(disk: string, { full = false, signal }: CheckOptions = {}): Promise<Checked> {
  // e2fsck itself would find out by the devices that it cannot see.
  const loop = await loopDeviceOf(disk);
  if (loop !== undefined) {
    return { ok: false, result: `this machine has it as ${loop}; unmount it there, and losetup -d ${loop}` };
  }
  const before = await outsideJournalOf(disk);
  if (before !== undefined) {
    return { ok: false, result: before };
  }
  const args = ['--mount', 'sh', '-c', script, 'e2fsck', '-p', ...(full ? ['-f'] : []), disk];
  const said = await run(...mortalCommand('unshare', args), signal ? { signal } : {}).catch((error: unknown) => {
    if (error instanceof UserError && error.code === 'failed') {
      throw new UserError('failed', `${disk} could not be checked: ${error.message}`, {
        cause: error,
        hint: 'The server needs to be root, with the right to mount, and e2fsck (package e2fsprogs)',
      });
    }
    throw error;
  });
  const [, text = '', code = ''] = /^([\s\S]*?)(?:^|\n)e2fsck ended with (\d+)$/.exec(said) ?? [];
  if (code === '' || code === '127') {
    throw new UserError('failed', `${disk} could not be checked: ${said}`, { hint: 'Is e2fsck (package e2fsprogs) installed?' });
  }
  if (!wholeCodes.includes(code)) {
    return { ok: false, result: reasonOf(text, disk) };
  }
  const after = await outsideJournalOf(disk);
  return after === undefined ? { ok: true, result: resultOf(text, disk) } : { ok: false, result: after };
}

/** A copy of a node's disk, made fit to be kept or mounted. @throws UserError failed */
export async function checkCopy(node: NodeName, copy: string, signal?: AbortSignal): Promise<void> {
  const { ok, result } = await checkDisk(copy, { full: true, ...(signal ? { signal } : {}) });
  if (!ok) {
    throw new UserError('failed', `The disk of ${node} is damaged, and so would be what is kept of it: ${result}`, {
      hint: `cardless overlay reset ${node} gives it a fresh one; cardless overlay restore ${node} LABEL an earlier state`,
    });
  }
}

async function outsideJournalOf(disk: string): Promise<string | undefined> {
  const file = await open(disk, 'r');
  try {
    const { buffer, bytesRead } = await file.read(Buffer.alloc(superblockBytes), 0, superblockBytes, superblockOffset);
    return bytesRead === superblockBytes ? outsideJournal(buffer) : undefined;
  } finally {
    await file.close();
  }
}

function reasonOf(said: string, disk: string): string {
  const lines = said.split('\n').map((line) => line.replaceAll(`${disk}: `, '').trim());
  return (
    lines
      .filter((line) => line !== '')
      .slice(0, 3)
      .join('; ') || 'e2fsck gave up'
  );
}

function resultOf(said: string, disk: string): string {
  const replayed = said.includes('recovering journal');
  const repaired = said
    .split('\n')
    .map((line) => line.replaceAll(`${disk}: `, '').trim())
    .filter((line) => line !== '' && !/^clean, |recovering journal|files \(.*non-contiguous\)|^$/.test(line));
  const words = [
    ...(replayed ? ['journal replayed'] : []),
    ...(repaired.length > 0 ? [`repaired: ${repaired.slice(0, 3).join('; ')}`] : []),
  ];
  return words.join(', ') || 'clean';
}
