import type { Command } from 'commander';
import { z } from 'zod';
import { UserError } from '../../domain/errors.ts';
import { foldRange } from '../../domain/fold-range.ts';
import { expandRange } from '../../domain/range.ts';
import { withServer } from '../admin-client.ts';
import type { Context } from '../context.ts';
import { ago } from '../format.ts';
import { show } from './node-view.ts';

const Board = z.object({ serial: z.string().optional(), macs: z.array(z.string()) });
const Claim = z.object({ name: z.string(), at: z.number(), board: Board, before: Board.optional() });
const Claims = z.object({
  window: z.object({ names: z.array(z.string()), endsAt: z.number() }).optional(),
  claims: z.array(Claim),
  denied: z.array(z.string()),
});

interface ClaimOptions {
  readonly as?: string;
  readonly replace?: boolean;
  readonly next?: string;
  readonly within: string;
  readonly waiting?: boolean;
  readonly group?: string;
  readonly stop?: boolean;
  readonly undo?: boolean;
}

export function addNodeClaim(node: Command, contextOf: () => Context): void {
  node
    .command('claim')
    .description('make an unknown board a node: one by its serial, or one after the other as they are plugged in')
    .argument('[board]', 'serial number or MAC; cardless node list --unclaimed shows who asked')
    .option('--as <name>', 'which node it becomes')
    .option('--replace', 'also when that node has a board: the new one takes its name, address and disks')
    .option('--next <names>', 'the boards that are plugged in from now on become these nodes, in this order: red[5-20]')
    .option('--within <minutes>', 'how long to wait for them', '10')
    .option('--waiting', 'with --next: also the boards that have asked before')
    .option('--group <group>', 'what the node inherits from')
    .option('--stop', 'take no more boards')
    .option('--undo', 'take back the newest claim')
    .action(async (board: string | undefined, options: ClaimOptions) => {
      await claim(contextOf(), board, options);
    });
  node
    .command('claims')
    .description('which boards became which nodes, who is still waited for, and who is denied')
    .action(async () => {
      const context = contextOf();
      const claims = Claims.parse(await withServer(context, (client) => client.call('GET', '/claims')));
      show(context, claims, () => claimsText(claims));
    });
  node
    .command('deny')
    .description('never list a board, and let no claim take it')
    .argument('<board>', 'serial number or MAC')
    .action(async (board: string) => {
      const context = contextOf();
      const claims = Claims.parse(await withServer(context, (client) => client.call('POST', '/denied', { board })));
      show(context, claims, () => `denied: ${claims.denied.join(', ')}`);
    });
  node
    .command('allow')
    .description('no longer deny a board')
    .argument('<board>', 'serial number or MAC')
    .action(async (board: string) => {
      const context = contextOf();
      const claims = Claims.parse(await withServer(context, (client) => client.call('DELETE', `/denied/${encodeURIComponent(board)}`)));
      show(context, claims, () => `denied: ${claims.denied.join(', ') || 'nobody'}`);
    });
}

async function claim(context: Context, board: string | undefined, options: ClaimOptions): Promise<void> {
  const { as, replace = false, next, within, waiting = false, group, stop, undo } = options;
  const wanted = [board !== undefined, next !== undefined, stop, undo].filter(Boolean).length;
  if (wanted !== 1 || (board !== undefined) !== (as !== undefined)) {
    throw new UserError('bad-input', 'Say which board becomes which node, or which nodes wait for boards', {
      hint: 'cardless node claim 91cdf03d --as red5, or: cardless node claim --next red[5-20]; --stop ends that, --undo takes the newest back',
    });
  }
  if (stop) {
    const claims = Claims.parse(await withServer(context, (client) => client.call('DELETE', '/claims/window')));
    show(context, claims, () => 'no more boards are taken');
  } else if (undo) {
    const last = Claim.parse(await withServer(context, (client) => client.call('POST', '/claims/undo')));
    show(context, last, () => `${boardText(last.board)} is no longer ${last.name}`);
  } else if (next !== undefined) {
    const seconds = Math.round(Number(within) * 60);
    if (!Number.isFinite(seconds) || seconds < 1) {
      throw new UserError('bad-input', `"${within}" is no number of minutes`, { hint: 'For example --within 15' });
    }
    const request = { names: next, seconds, waiting, ...(group === undefined ? {} : { group }) };
    const claims = Claims.parse(await withServer(context, (client) => client.call('POST', '/claims/window', request)));
    show(context, claims, () => claimsText(claims));
  } else {
    const request = { board, as, replace, ...(group === undefined ? {} : { group }) };
    const node = z.looseObject({ name: z.string() }).parse(await withServer(context, (client) => client.call('POST', '/claims', request)));
    show(context, node, () => `${board} is ${node.name}; it boots at its next try`);
  }
}

function boardText({ serial, macs }: z.infer<typeof Board>): string {
  return serial ?? macs[0] ?? '-';
}

/** As ranges, where these keep the order in which boards are taken. */
function inOrder(names: readonly string[]): string {
  const folded = foldRange(names);
  return folded
    .split(/,(?![^[]*\])/)
    .flatMap(expandRange)
    .join() === names.join()
    ? folded
    : names.join(', ');
}

function claimsText({ window, claims, denied }: z.infer<typeof Claims>): string {
  const minutes = window ? Math.max(1, Math.round((window.endsAt - Date.now()) / 60_000)) : 0;
  return [
    window ? `the next boards become ${inOrder(window.names)}; for another ${minutes} min` : 'no board is waited for',
    ...claims.map(({ name, board, at, before }) => {
      const old = before && boardText(before);
      return `${name}: ${boardText(board)}, ${ago(at, Date.now())}${old && old !== '-' ? `, in the place of ${old}` : ''}`;
    }),
    ...(denied.length === 0 ? [] : [`denied: ${denied.join(', ')}`]),
  ].join('\n');
}
