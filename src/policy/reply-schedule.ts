/** When a DHCP reply is sent, in milliseconds after the request; several entries repeat it. */
import type { ClientClass } from './classify-client.ts';
import type { DhcpMode } from './decide-dhcp.ts';

/**
 * The mask ROM of a 3B acts on a stored OFFER only when another frame arrives later than one second after its
 * DISCOVER, and its receive timer ends the attempt when nothing arrives for about a second (openSUSE netboot-rpi3b).
 * So the OFFER goes out three times. As a proxy the first one waits: two different offers within two seconds can lock
 * the ROM up (raspberrypi/firmware#934).
 */
export function replySchedule(client: ClientClass, mode: DhcpMode): readonly number[] {
  if (client !== 'pi3-rom') {
    return [0];
  }
  return mode === 'proxy' ? [1200, 2200] : [0, 600, 1200];
}
