/** Kea's load generator, out of Debian's packages but not installed: they would bring Kea's servers' user and libraries. */
import { unpackedCommand } from './unpacked.ts';

/** A command line that runs it. */
export async function perfdhcpCommand(args: readonly string[]): Promise<readonly [string, readonly string[]]> {
  return await unpackedCommand({ name: 'perfdhcp', packages: ['kea-admin'], program: 'usr/sbin/perfdhcp', probe: ['-v'] }, args);
}
