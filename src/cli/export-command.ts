/** The fleet in the formats of other programs: to stdout, into a file, and as an inventory that Ansible runs. */
import { hostname } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { projectRoot } from '../config/places.ts';
import { UserError } from '../domain/errors.ts';
import { type ExportFormat, exportFormatNames, exportFormats, parseExportFormat } from '../domain/export-format.ts';
import { replaceFile } from '../process/replace-file.ts';
import { withServer } from './admin-client.ts';
import type { Context } from './context.ts';
import { nodeSetHelp } from './node/node-view.ts';

interface ExportOptions {
  readonly output?: string;
  readonly jump?: string | boolean;
  readonly user?: string;
  readonly port?: string;
  readonly script?: boolean;
  readonly list?: boolean;
  readonly host?: string;
}

export function addExportCommand(program: Command, contextOf: () => Context): void {
  program
    .command('export')
    .description('the nodes in the format of another program')
    .argument('<format>', 'one of those below')
    .argument('[nodes]', nodeSetHelp)
    .option('--output <file>', 'into this file, in one step; the setting exports keeps files current')
    .option('--jump [user@host]', 'nodes are reached through this host (ProxyJump); without a name, through this one')
    .option('--user <name>', 'who logs in (default: root)')
    .option('--port <number>', 'prometheus: where the exporter of a node listens (default: 9100)')
    .option('--script', 'ansible: a dynamic inventory, which asks the server each time')
    .option('--list', 'ansible: what a dynamic inventory answers')
    .option('--host <name>', 'ansible: the same, for one node')
    .addHelpText('after', () => `\nFormats:\n${exportFormatNames.map((name) => `  ${name.padEnd(14)} ${exportFormats[name]}`).join('\n')}`)
    .action(async (input: string, names: string | undefined, options: ExportOptions) => {
      const context = contextOf();
      const format = formatOf(input, options);
      const text = options.script
        ? ansibleScript(context, names, options)
        : await withServer(context, (client) => client.text(pathOf(format, options.host ?? names, options)));
      if (options.output === undefined) {
        context.print(context.json ? JSON.stringify({ format, text }) : text.trimEnd());
        return;
      }
      await writeOutput(options.output, text, options.script ? 0o755 : 0o644);
      context.note(`wrote ${options.output}`);
    });
}

function formatOf(input: string, { script, list, host }: ExportOptions): ExportFormat {
  const format = parseExportFormat(input);
  const given = [script && '--script', list && '--list', host !== undefined && '--host'].filter(Boolean);
  if (given.length > 0 && format !== 'ansible') {
    throw new UserError('bad-input', `${given[0]} is for Ansible`, { hint: `cardless export ansible ${given[0]}` });
  }
  if (given.length > 1) {
    throw new UserError('bad-input', `${given.join(' and ')} do not go together`, { hint: 'Give one of them' });
  }
  return list ? 'ansible-list' : host === undefined ? format : 'ansible-host';
}

function pathOf(format: ExportFormat, nodes: string | undefined, options: ExportOptions): string {
  const jump = jumpOf(options);
  const query = Object.entries({ nodes, jump, user: options.user, port: options.port });
  const text = new URLSearchParams(query.filter((entry): entry is [string, string] => entry[1] !== undefined)).toString();
  return `/export/${format}${text === '' ? '' : `?${text}`}`;
}

function jumpOf({ jump }: ExportOptions): string | undefined {
  return jump === true ? hostname() : typeof jump === 'string' ? jump : undefined;
}

/** Ansible calls it with --list or --host. The server's socket is for root alone. */
function ansibleScript(context: Context, names: string | undefined, options: ExportOptions): string {
  const jump = jumpOf(options);
  const words = [
    join(projectRoot, 'cardless'),
    '--state',
    context.places.state,
    'export',
    'ansible',
    ...(names === undefined ? [] : [names]),
    ...(jump === undefined ? [] : ['--jump', jump]),
    ...(options.user === undefined ? [] : ['--user', options.user]),
  ];
  const quoted = words.map((word) => `'${word.replaceAll("'", `'\\''`)}'`).join(' ');
  return `#!/bin/sh
if [ "$(id -u)" = 0 ]; then as_root=; else as_root='sudo -n'; fi
exec $as_root ${quoted} "$@"
`;
}

async function writeOutput(path: string, text: string, mode: number): Promise<void> {
  try {
    await replaceFile(path, text, mode);
  } catch (error) {
    throw new UserError('bad-input', `${path} cannot be written`, {
      cause: error,
      hint: 'Does its folder exist, and may you write there?',
    });
  }
}
