/** Which boot session a packet belongs to, and how far it shows the boot to be (pi-netboot A.4). */
import type { BootEvent, BootSession, BootStage } from '../domain/boot-session.ts';
import { bootStages, consoleEvent } from '../domain/boot-session.ts';
import type { ClientClass } from './classify-client.ts';

/** A ROM asks five times over 25 s, bootcode.bin for a minute: within this time a DISCOVER is a repetition. */
const sameBootMs = 90_000;
/** A boot that says nothing for so long is over: the machine went on to its own disk, whose users are not its firmware. */
const silentMs = 15 * 60_000;

/**
 * Does this DISCOVER open a new boot? Firmware speaks DHCP before it fetches a kernel, so a firmware DISCOVER from a
 * node that had come further means that it started over. Linux's own DHCP (class lease) never opens one.
 */
export function opensSession(session: BootSession | undefined, client: ClientClass, now: number): boolean {
  if (client === 'lease') {
    return false;
  }
  if (session?.outcome !== 'running') {
    return true;
  }
  if (now - lastSignOf(session) > sameBootMs) {
    return true;
  }
  return stageIndex(session.stage) >= stageIndex('kernel') || fetchedPastFirstProgram(session, client);
}

/** May its token still be used? */
export function isUnderWay(session: BootSession, now: number): boolean {
  return session.outcome === 'running' && now - lastSignOf(session) <= silentMs;
}

/** A boot loader's log says nothing about which boot it is of, so it does not keep one alive. */
function lastSignOf(session: BootSession): number {
  return session.events.findLast(({ what }) => what !== consoleEvent)?.at ?? session.startedAt;
}

/**
 * The mask ROM and bootcode.bin each hold a DHCP exchange of their own, and only bootcode.bin is fetched in between. So do
 * a PC's firmware and the iPXE that it fetches.
 */
function fetchedPastFirstProgram(session: BootSession, client: ClientClass): boolean {
  const first = client === 'ipxe' ? /^(undionly\.kpxe|ipxe[a-z0-9-]*\.efi)\b/ : /^bootcode\.bin\b/;
  return session.events.some((event) => event.what === 'file sent' && !first.test(event.detail ?? ''));
}

function stageIndex(stage: BootStage): number {
  return bootStages.indexOf(stage);
}

/** A boot only ever goes forward; an earlier stage's event does not take it back. */
export function laterStage(a: BootStage, b: BootStage): BootStage {
  return stageIndex(b) > stageIndex(a) ? b : a;
}

/** What fetching a file says about the boot. */
export function stageOfFile(path: string): BootStage {
  return /^(kernel|initramfs|vmlinuz|Image$|cmdline\.txt|boot\.img)/.test(path) ? 'kernel' : 'firmware';
}

/** Of one boot; the newest are kept, for they tell where it is stuck. */
const maxConsoleLines = 300;

/** The boot loader's lines are many: they take each other's place, never that of an event. */
export function withConsoleLine(events: readonly BootEvent[], line: BootEvent): BootEvent[] {
  const isFull = events.filter(({ what }) => what === consoleEvent).length >= maxConsoleLines;
  const oldest = isFull ? events.findIndex(({ what }) => what === consoleEvent) : -1;
  return [...(oldest < 0 ? events : events.toSpliced(oldest, 1)), line];
}
