/** boot.img and boot.sig for Raspberry Pis, by TFTP (`boot_ramdisk=1`) and by HTTP (BOOT_ORDER 7). */
import { messageOf, UserError } from '../domain/errors.ts';
import type { Ipv4 } from '../domain/ipv4.ts';
import type { Logger } from '../log/logger.ts';
import { stageOfFile } from '../policy/boot-progress.ts';
import { ramdiskWarnings } from '../policy/boot-ramdisk.ts';
import type { PiBootOptions } from '../servers/http/pi-boot.ts';
import { type BootRamdisks, ramdiskNames, sizeOf } from './boot-ramdisk.ts';
import type { BootService, Face } from './boot-service.ts';
import type { BootSessions } from './boot-sessions.ts';
import type { BootFiles, FileCache, FileSource } from './file-sources.ts';

interface PiBootFilesOptions {
  readonly ramdisks: BootRamdisks;
  readonly sessions: BootSessions;
  readonly log: Logger;
}

/** Also served when config.txt does not lead there: a board with SIGNED_BOOT asks for nothing else. */
export function ramdiskSource(options: PiBootFilesOptions, cache: FileCache): FileSource {
  return async (path, boot) => {
    const name = ramdiskNames.find((candidate) => candidate === path);
    const file = name && (await options.ramdisks.find(name, boot));
    if (file === undefined) {
      return { pass: 'no boot.img' };
    }
    await warnOfSize(options, file, boot, 'tftp');
    return { found: await cache.read(file) };
  };
}

/** What the node face serves below /pi/. */
export function piHttpBoot(options: PiBootFilesOptions & { readonly boot: BootService }, face: Face): PiBootOptions {
  const { ramdisks, sessions, log } = options;
  return {
    file: async (name, directory, peer, isRead) => {
      const lookup = await options.boot.bootOf(directory === undefined ? name : `${directory}/${name}`, peer, face);
      if (lookup.kind !== 'boot') {
        throw refusal(lookup.kind === 'refused' ? lookup.reason : undefined, peer);
      }
      const node = lookup.node.name;
      const file = await ramdisks.find(name, lookup.boot).catch((error: unknown) => {
        log.error({ node, reason: messageOf(error) }, 'boot.img could not be made');
        throw new UserError('unavailable', `${name} could not be made`, { cause: error });
      });
      if (file === undefined) {
        const reason = name === 'boot.sig' && !ramdisks.isSigned ? 'the setting bootKey is missing' : 'no boot under way, or no image';
        log.warn({ node, peer, file: name, reason }, 'boot file not served');
        throw new UserError('not-found', `There is no ${name} for ${node}: ${reason}`);
      }
      if (isRead) {
        await warnOfSize(options, file, lookup.boot, 'http');
        sessions.record(node, stageOfFile(name), 'file requested', `${name} ${await sizeOf(file)} bytes by http`);
      }
      return file;
    },
  };
}

function refusal(reason: string | undefined, peer: Ipv4): UserError {
  return reason === undefined
    ? new UserError('not-found', `No node is known at ${peer}; ask for /pi/SERIAL/boot.img, or register it`)
    : new UserError('not-permitted', reason);
}

const warningEvent = 'warning';

/** Once a boot: such a board shows nothing but a failed boot. */
async function warnOfSize({ sessions, log }: PiBootFilesOptions, file: string, boot: BootFiles, via: 'tftp' | 'http'): Promise<void> {
  const node = boot.session?.node;
  const bytes = await sizeOf(file);
  const warned = node === undefined || sessions.of(node)?.events.some(({ what }) => what === warningEvent);
  if (warned) {
    return;
  }
  for (const who of ramdiskWarnings(bytes, via)) {
    log.warn({ node, bytes, reason: who }, 'boot.img is large');
    sessions.record(node, 'firmware', warningEvent, `boot.img has ${bytes} bytes: ${who}`);
  }
}
