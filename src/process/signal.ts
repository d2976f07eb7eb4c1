/**
 * Sends a signal to a process, or to a process group when `pid` is negative; 0 only asks whether it is there.
 * False when it is gone, or never was.
 */
export function signalProcess(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(pid, signal);
  } catch {
    // ESRCH: it is gone.
    return false;
  }
}

export function isAlive(pid: number | undefined): boolean {
  return pid !== undefined && signalProcess(pid, 0);
}
