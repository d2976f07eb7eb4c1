/** The switches of the services for the subnet, as flags of `cardless up`. */
import type { Command } from 'commander';
import { checkSettings } from '../../config/load.ts';
import type { Settings } from '../../config/schema.ts';
import { nfsChoice } from '../../daemon/services/shared-service.ts';
import { messageOf, UserError } from '../../domain/errors.ts';
import { run } from '../../process/run.ts';
import type { Context } from '../context.ts';
import { ensureTools } from '../setup.ts';

export interface ServiceFlags {
  readonly nameServer?: boolean;
  readonly gateway?: boolean;
  readonly timeServer?: boolean | string;
  readonly sharedDirectory?: boolean;
  readonly domain?: string;
  readonly upstreamDns?: string[];
  readonly uplink?: string;
  readonly dryRun?: boolean;
}

export function addServiceFlags(up: Command): void {
  up.option('--name-server', 'mode full: answer for the names of nodes, and ask upstream for others')
    .option('--gateway', 'mode full: nodes reach the world through this machine')
    .option('--uplink <interface>', 'how the gateway reaches the world (default: by the default route)')
    .option('--time-server [local]', 'mode full: tell the time; local: also while nobody has set this clock')
    .option('--shared-directory', 'mode full: nodes mount directories of this machine')
    .option('--domain <name>', 'domain of the nodes (default: cluster.internal)')
    .option('--upstream-dns <address...>', 'whom the name server asks (default: as this machine does)')
    .option('--dry-run', 'only show what the services that are switched on would change on this machine');
}

/** Keys of one interface. */
export function interfaceServices(flags: ServiceFlags): Record<string, unknown> {
  const { nameServer, gateway, timeServer, sharedDirectory } = flags;
  return Object.fromEntries(
    Object.entries({ nameServer, gateway, timeServer, sharedDirectory }).filter(([, value]) => value !== undefined),
  );
}

/** Keys of the whole server. @throws UserError bad-input */
export function serverServices({ domain, upstreamDns, uplink }: ServiceFlags): Partial<Settings> {
  const given = Object.fromEntries(Object.entries({ domain, upstreamDns, uplink }).filter(([, value]) => value !== undefined));
  const checked: Partial<Record<string, unknown>> = checkSettings(given, 'The command line');
  return Object.fromEntries(Object.keys(given).map((key) => [key, checked[key]]));
}

/** @throws UserError bad-input: without --interface it is the settings file that says all about interfaces */
export function noServicesWithout(flags: ServiceFlags): void {
  const [key] = Object.keys(interfaceServices(flags));
  if (key !== undefined) {
    throw new UserError(
      'bad-input',
      `--${key.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)} is about one interface, and none is named`,
      {
        hint: 'Name it with --interface, or write this into the settings file',
      },
    );
  }
}

/** Installs what the services that are on need. */
export async function ensureServiceTools({ interfaces }: Settings, context: Context): Promise<void> {
  if (interfaces.some(({ gateway }) => gateway)) {
    await ensureTools('gateway', context);
  }
  const choice = interfaces.some(({ sharedDirectory }) => sharedDirectory) ? await nfsChoice() : undefined;
  if (choice?.kind === 'missing') {
    await ensureTools(choice.packages, context);
    if (choice.packages === 'nfs-ganesha') {
      // Debian's package starts one with an export of its own, on the port of ours.
      await run('systemctl', ['disable', '--now', 'nfs-ganesha.service']).catch((error: unknown) => context.note(messageOf(error)));
    }
  }
}
