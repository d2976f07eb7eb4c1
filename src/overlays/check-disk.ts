/** What the server does before it uses a disk that a node could write to: root there wrote every byte of it. */
import { open } from 'node:fs/promises';
import { messageOf, UserError } from '../domain/errors.ts';
import type { NodeName } from '../domain/node.ts';
import { mortalCommand, run } from '../process/run.ts';
import { outsideJournal, superblockBytes, superblockOffset } from './ext4-superblock.ts';

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

/** e2fsck without this machine's devices: a journal, which it replays, may bring a superblock that names one of them. */
const script = 'mount -t tmpfs none /dev && : >/dev/null && exec e2fsck "$@"';

/** What a power cut leaves behind is put right; what needs a person's decision is left alone. Cheap when it is clean. */
export async function checkDisk(disk: string, { full = false, signal }: CheckOptions = {}): Promise<Checked> {
  const before = await outsideJournalOf(disk);
  if (before !== undefined) {
    return { ok: false, result: before };
  }
  let said: string;
  try {
    const args = ['--mount', 'sh', '-c', script, 'e2fsck', '-p', ...(full ? ['-f'] : []), disk];
    said = await run(...mortalCommand('unshare', args), { okCodes: [0, 1, 2], ...(signal ? { signal } : {}) });
  } catch (error) {
    if (error instanceof UserError && error.code === 'failed') {
      return { ok: false, result: reasonOf(messageOf(error), disk) };
    }
    throw error;
  }
  const after = await outsideJournalOf(disk);
  return after === undefined ? { ok: true, result: resultOf(said, disk) } : { ok: false, result: after };
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

function reasonOf(message: string, disk: string): string {
  const lines = message
    .split('\n')
    .slice(1)
    .map((line) => line.replaceAll(`${disk}: `, '').trim());
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
