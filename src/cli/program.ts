import { Command, CommanderError } from 'commander';
import { findPlaces } from '../config/places.ts';
import { UserError } from '../domain/errors.ts';
import { addBenchCommands } from './bench/bench-command.ts';
import { type Context, requireRoot } from './context.ts';
import { addDemoCommand } from './demo/demo-command.ts';
import { addExecCommand } from './exec-command.ts';
import { addExportCommand } from './export-command.ts';
import { addFleetCommands } from './fleet-commands.ts';
import { addImageCommands } from './image-commands.ts';
import { addJobCommands } from './job-commands.ts';
import { addNodeCommands } from './node-commands.ts';
import { addOrderCommands } from './order-commands.ts';
import { addOverlayCommands } from './overlay-commands.ts';
import { addPowerCommands } from './power-command.ts';
import { addSecretCommands } from './secret-commands.ts';
import { addServiceCommands } from './service-commands.ts';
import { ensureTools, type Purpose, purposeNames } from './setup.ts';
import { addSimCommand } from './sim/sim-command.ts';
import { addSshCommands } from './ssh-command.ts';
import { addStatusCommand } from './status-command.ts';
import { addTestCommand } from './test-command.ts';
import { addUpCommand } from './up-command.ts';
import { addVitalsCommand } from './vitals-command.ts';

const exitCodes = { done: 0, failed: 1, usage: 2 } as const;

/** Runs one command line. The result is the exit code: 0 done, 1 failed, 2 wrong usage. */
export async function runCli(argv: readonly string[], signal: AbortSignal): Promise<number> {
  const program = new Command('cardless');
  const contextOf = (): Context => {
    const options = program.opts<{ state?: string; json?: boolean }>();
    return {
      places: findPlaces({ state: options.state, env: process.env }),
      json: options.json ?? false,
      signal,
      env: process.env,
      print: (line) => void process.stdout.write(`${line}\n`),
      note: (line) => void process.stderr.write(`${line}\n`),
    };
  };
  program
    .description('Network-boots Raspberry Pis and PCs without SD cards.')
    .option('--state <folder>', 'where everything is kept (default: /var/lib/cardless, in a checkout ./.cardless)')
    .option('--json', 'print results as JSON')
    .exitOverride()
    .showHelpAfterError('(cardless --help shows all commands)')
    .configureHelp({ showGlobalOptions: true });
  addUpCommand(program, contextOf);
  addDemoCommand(program, contextOf);
  addStatusCommand(program, contextOf);
  addNodeCommands(program, contextOf);
  addVitalsCommand(program, contextOf);
  addFleetCommands(program, contextOf);
  addExecCommand(program, contextOf);
  addSshCommands(program, contextOf);
  addOrderCommands(program, contextOf);
  addPowerCommands(program, contextOf);
  addExportCommand(program, contextOf);
  addSecretCommands(program, contextOf);
  addImageCommands(program, contextOf);
  addJobCommands(program, contextOf);
  addOverlayCommands(program, contextOf);
  addServiceCommands(program, contextOf);
  addSimCommand(program, contextOf);
  addBenchCommands(program, contextOf);
  addSetupCommand(program, contextOf);
  addTestCommand(program, contextOf);
  inheritSettings(program);
  try {
    await program.parseAsync(allowGlobalOptionsAnywhere(argv));
    return Number(process.exitCode ?? exitCodes.done);
  } catch (error) {
    return exitCodeOf(error);
  }
}

function addSetupCommand(program: Command, contextOf: () => Context): void {
  program
    .command('setup')
    .description('install the Debian packages that are missing')
    .argument('[purpose]', `one of: ${purposeNames.join(', ')}`, 'demo')
    .action(async (purpose: string) => {
      const known = purposeNames.find((name) => name === purpose);
      if (!known) {
        throw new UserError('bad-input', `"${purpose}" is not a purpose`, { hint: `One of: ${purposeNames.join(', ')}` });
      }
      const context = contextOf();
      requireRoot('Installing packages');
      await ensureTools(known satisfies Purpose, context);
      context.print(`everything for "${known}" is installed`);
    });
}

/** Subcommands made before a setting of their parent do not have it. */
function inheritSettings(command: Command): void {
  for (const child of command.commands) {
    child.copyInheritedSettings(command);
    inheritSettings(child);
  }
}

/** `cardless node list --json` is what people write, so --json and --state may stand behind a command too. */
function allowGlobalOptionsAnywhere(argv: readonly string[]): string[] {
  const [node = '', script = '', ...words] = argv;
  const front: string[] = [];
  const rest: string[] = [];
  for (let index = 0; index < words.length; index += 1) {
    const word = words[index] ?? '';
    if (word === '--') {
      rest.push(...words.slice(index));
      break;
    }
    if (word === '--json' || word.startsWith('--state=')) {
      front.push(word);
    } else if (word === '--state') {
      front.push(word, ...words.slice(index + 1, index + 2));
      index += 1;
    } else {
      rest.push(word);
    }
  }
  return [node, script, ...front, ...rest];
}

function exitCodeOf(error: unknown): number {
  if (error instanceof CommanderError) {
    return error.exitCode === 0 ? exitCodes.done : exitCodes.usage;
  }
  if (error instanceof UserError) {
    process.stderr.write(`cardless: ${error.message}\n${error.hint === undefined ? '' : `  ${error.hint}\n`}`);
    return error.code === 'bad-input' ? exitCodes.usage : exitCodes.failed;
  }
  throw error;
}
