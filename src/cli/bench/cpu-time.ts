import { readdir, readFile } from 'node:fs/promises';

/** USER_HZ, which is 100 on every architecture that Debian has. */
const ticksPerSecond = 100;

interface Usage {
  readonly parent: number;
  readonly own: number;
  readonly ended: number;
}

/** Processor time of a process, its threads and its children, those that ended and were waited for included. */
export async function cpuSeconds(pid: number): Promise<number> {
  const names = (await readdir('/proc')).filter((name) => /^\d+$/.test(name));
  const usages = new Map<number, Usage>();
  await Promise.all(
    names.map(async (name) => {
      const usage = parseStat(await readFile(`/proc/${name}/stat`, 'utf8').catch(() => ''));
      if (usage) {
        usages.set(Number(name), usage);
      }
    }),
  );
  const of = (root: number): number => {
    const usage = usages.get(root);
    const children = [...usages].filter(([, other]) => other.parent === root).map(([child]) => child);
    return (usage ? usage.own + usage.ended : 0) + children.reduce((sum, child) => sum + of(child), 0);
  };
  return of(pid) / ticksPerSecond;
}

/** proc_pid_stat(5): the name in brackets may hold anything, so the fields are counted after it. */
export function parseStat(text: string): Usage | undefined {
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ');
  const [parent, user, system, endedUser, endedSystem] = [1, 11, 12, 13, 14].map((index) => Number(fields[index]));
  if (parent === undefined || user === undefined || system === undefined || endedUser === undefined || endedSystem === undefined) {
    return undefined;
  }
  return Number.isNaN(endedSystem) ? undefined : { parent, own: user + system, ended: endedUser + endedSystem };
}
