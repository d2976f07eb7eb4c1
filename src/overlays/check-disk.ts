import { messageOf, UserError } from '../domain/errors.ts';
import type { NodeName } from '../domain/node.ts';
import { mortalCommand, run } from '../process/run.ts';

export interface Checked {
  readonly ok: boolean;
  /** For the timeline of the boot: `clean`, `journal replayed`, `repaired`, or what is wrong. */
  readonly result: string;
}

/** What a power cut leaves behind is put right; what needs a person's decision is left alone. Cheap when it is clean. */
export async function checkDisk(disk: string, signal?: AbortSignal): Promise<Checked> {
  try {
    const said = await run(...mortalCommand('e2fsck', ['-p', disk]), { okCodes: [0, 1, 2], ...(signal ? { signal } : {}) });
    return { ok: true, result: resultOf(said, disk) };
  } catch (error) {
    if (error instanceof UserError && error.code === 'failed') {
      return { ok: false, result: reasonOf(messageOf(error), disk) };
    }
    throw error;
  }
}

/** A copy of a node's disk, made fit to be kept or mounted. @throws UserError failed */
export async function checkCopy(node: NodeName, copy: string, signal?: AbortSignal): Promise<void> {
  const { ok, result } = await checkDisk(copy, signal);
  if (!ok) {
    throw new UserError('failed', `The disk of ${node} is damaged, and so would be what is kept of it: ${result}`, {
      hint: `cardless overlay reset ${node} gives it a fresh one; cardless overlay restore ${node} LABEL an earlier state`,
    });
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
