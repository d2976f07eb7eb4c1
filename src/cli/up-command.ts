import { readFile } from 'node:fs/promises';
import { type Command, Option } from 'commander';
import { checkSettings, loadSettings } from '../config/load.ts';
import type { Settings } from '../config/schema.ts';
import { runDaemon } from '../daemon/daemon.ts';
import { planServices } from '../daemon/services/plan-services.ts';
import { UserError } from '../domain/errors.ts';
import { parseAddressRange, parseIpv4, parseSubnet } from '../domain/ipv4.ts';
import type { PublicKey } from '../domain/public-key.ts';
import { createLogger } from '../log/logger.ts';
import { listInterfaces } from '../net/interfaces.ts';
import { sdNotify } from '../net/sd-notify.ts';
import type { Context } from './context.ts';
import {
  addServiceFlags,
  ensureServiceTools,
  interfaceServices,
  noServicesWithout,
  type ServiceFlags,
  serverServices,
} from './service/service-flags.ts';
import { printPlan } from './service-commands.ts';
import { downloadBootPrograms, ensureTools } from './setup.ts';

interface UpOptions extends ServiceFlags {
  readonly interface?: string;
  readonly mode?: string;
  readonly uefiLoader?: string;
  readonly subnet?: string;
  readonly pool?: string;
  readonly router?: string;
  readonly dns?: string[];
  readonly authorizedKeys?: string[];
  readonly config?: string;
  readonly logLevel: string;
  readonly network: boolean;
  readonly forClient?: boolean;
}

export function addUpCommand(program: Command, contextOf: () => Context): void {
  const command = program
    .command('up')
    .description('serve a network until stopped')
    .option('--interface <name>', 'interface to serve; more of them go into the settings file')
    .option('--mode <mode>', 'proxy: the router gives addresses; full: we do; off', 'proxy')
    .addOption(
      new Option('--uefi-loader <loader>', 'what UEFI gets first; grub is for Secure Boot (default: ipxe)').choices(['ipxe', 'grub']),
    )
    .option('--subnet <subnet>', 'mode full: the subnet that is ours (default: that of the interface)')
    .option('--pool <first-last>', 'mode full: addresses to give out (default: upper half of the subnet)')
    .option('--router <address>', 'mode full: gateway of the nodes')
    .option('--dns <address...>', 'mode full: name servers of the nodes')
    .option('--authorized-keys <file...>', 'OpenSSH public keys that may log in to nodes as root')
    .option('--config <file>', 'settings file')
    .addOption(new Option('--log-level <level>', 'how much to say').choices(['debug', 'info', 'warn', 'error']).default('info'))
    .option('--no-network', 'serve nobody: only the registry and jobs')
    // How withServer starts one: it ends when that client is gone and no job is left.
    .addOption(new Option('--for-client').hideHelp())
    .addHelpText(
      'after',
      '\nExamples:\n  sudo ./cardless up --interface eth0\n  sudo ./cardless up --interface eth1 --mode full --subnet 192.168.50.0/24',
    )
    .action(async (options: UpOptions) => {
      const context = contextOf();
      const settings = await settingsFor(options, context);
      if (options.dryRun === true) {
        printPlan(await planServices(settings), context);
        return;
      }
      if (settings.interfaces.length > 0) {
        await ensureTools('serve', context);
        await ensureServiceTools(settings, context);
        await downloadBootPrograms(context);
      }
      const log = createLogger({ level: options.logLevel, terminal: process.stdout.isTTY });
      const notifySocket = context.env['NOTIFY_SOCKET'];
      const client = process.ppid;
      const isUnwanted = options.forClient === true ? (): boolean => process.ppid !== client : undefined;
      const daemon = { places: context.places, settings, log, ...(isUnwanted ? { isUnwanted } : {}) };
      await runDaemon(daemon, context.signal, () => sdNotify('READY=1', notifySocket));
    });
  addServiceFlags(command);
}

/** The settings file, with what the flags say in place of its own. */
async function settingsFor(options: UpOptions, context: Context): Promise<Settings> {
  const file = options.config ?? context.places.settingsFile;
  const written = await loadSettings(file, { mustExist: options.config !== undefined });
  const base = { ...written, ...serverServices(options) };
  const authorizedKeys = [...base.authorizedKeys, ...(await readKeys(options.authorizedKeys ?? []))];
  if (!options.network) {
    return { ...base, authorizedKeys, interfaces: [] };
  }
  if (options.interface === undefined) {
    if (base.interfaces.length === 0) {
      const known = (await listInterfaces()).map((facts) => `${facts.name} (${facts.address})`);
      throw new UserError('bad-input', 'Which interface should be served?', {
        hint: `Name one with --interface, or list them in ${file}. There are: ${known.join(', ')}`,
      });
    }
    checkFlagsOfAnInterface(options);
    noServicesWithout(options);
    return { ...base, authorizedKeys };
  }
  checkTexts(options);
  const flags = {
    name: options.interface,
    mode: options.mode,
    ...(options.uefiLoader === undefined ? {} : { uefiLoader: options.uefiLoader }),
    ...(options.subnet === undefined ? {} : { subnet: options.subnet }),
    ...(options.pool === undefined ? {} : { pool: options.pool }),
    ...(options.router === undefined ? {} : { router: options.router }),
    ...(options.dns === undefined ? {} : { dns: options.dns }),
    ...interfaceServices(options),
  };
  const { interfaces } = checkSettings({ interfaces: [flags] }, 'The command line');
  return { ...base, authorizedKeys, interfaces };
}

/** Without --interface it is the settings file that says all about interfaces. */
function checkFlagsOfAnInterface({ uefiLoader, subnet, pool, router, dns }: UpOptions): void {
  const given = Object.entries({ '--uefi-loader': uefiLoader, '--subnet': subnet, '--pool': pool, '--router': router, '--dns': dns });
  const [flag] = given.find(([, value]) => value !== undefined) ?? [];
  if (flag !== undefined) {
    throw new UserError('bad-input', `${flag} is about one interface, and none is named`, {
      hint: 'Name it with --interface, or write this into the settings file',
    });
  }
}

/** One plain sentence for a single wrong flag, where the settings file would be told a list. */
function checkTexts(options: UpOptions): void {
  if (options.mode !== 'proxy' && options.mode !== 'full' && options.mode !== 'off') {
    throw new UserError('bad-input', `"${options.mode}" is not a mode`, { hint: 'One of: proxy, full, off' });
  }
  if (options.subnet !== undefined) {
    parseSubnet(options.subnet);
  }
  if (options.pool !== undefined) {
    parseAddressRange(options.pool);
  }
  for (const address of [...(options.router === undefined ? [] : [options.router]), ...(options.dns ?? [])]) {
    parseIpv4(address);
  }
}

async function readKeys(files: readonly string[]): Promise<PublicKey[]> {
  const texts = await Promise.all(
    files.map((file) =>
      readFile(file, 'utf8').catch((error: unknown) => {
        throw new UserError('bad-input', `The key file ${file} cannot be read`, { cause: error });
      }),
    ),
  );
  const keys = texts.flatMap((text) =>
    text
      .split('\n')
      .map((line) => line.trim())
      .filter((line) => line !== '' && !line.startsWith('#')),
  );
  return checkSettings({ authorizedKeys: keys }, files.join(', ')).authorizedKeys;
}
