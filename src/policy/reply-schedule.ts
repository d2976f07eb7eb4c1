/** When a DHCP reply is sent, in milliseconds after the request; several entries repeat it. */
import type { ClientClass } from './classify-client.ts';
import type { DhcpMode } from './decide-dhcp.ts';

/** For the mask ROM of a 3B alone. */
export interface RomSchedule {
  readonly full: readonly number[];
  readonly proxy: readonly number[];
  /** Mode proxy: when a frame that says nothing is broadcast, to keep the ROM listening until our offer comes. */
  readonly proxyNudges: readonly number[];
}

/**
 * The mask ROM of a 3B acts on a stored OFFER only when another frame arrives later than one second after its
 * DISCOVER, and its receive timer ends the attempt when nothing arrives for about a second (openSUSE netboot-rpi3b).
 * So the OFFER goes out three times. As a proxy the first one waits: two different offers within two seconds can lock
 * the ROM up (raspberrypi/firmware#934).
 */
export const defaultRomSchedule: RomSchedule = { full: [0, 600, 1200], proxy: [1200, 2200], proxyNudges: [600] };

const atOnce: readonly number[] = [0];
const never: readonly number[] = [];

export function replySchedule(client: ClientClass, mode: DhcpMode, rom: RomSchedule = defaultRomSchedule): readonly number[] {
  if (client !== 'pi3-rom') {
    return atOnce;
  }
  return mode === 'proxy' ? rom.proxy : rom.full;
}

export function nudgeSchedule(client: ClientClass, mode: DhcpMode, rom: RomSchedule = defaultRomSchedule): readonly number[] {
  return client === 'pi3-rom' && mode === 'proxy' ? rom.proxyNudges : never;
}
