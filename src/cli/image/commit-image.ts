import type { Command } from 'commander';
import { z } from 'zod';
import { withServer } from '../admin-client.ts';
import { type Context, requireRoot } from '../context.ts';
import { CopiedState, copiedText } from '../copied-state.ts';
import { followJob } from '../follow-job.ts';
import { bytes } from '../format.ts';
import { ensureTools } from '../setup.ts';

const Change = z.object({
  path: z.string(),
  change: z.enum(['added', 'changed', 'removed']),
  type: z.string(),
  before: z.string().optional(),
  what: z.array(z.string()),
  bytes: z.number().optional(),
  linkTo: z.string().optional(),
  below: z.number().optional(),
});
type Change = z.infer<typeof Change>;

export const CommitView = z.object({
  node: z.string(),
  name: z.string(),
  parent: z.string(),
  parentName: z.string(),
  arch: z.string(),
  /** Whether the node itself boots it. */
  bootsNext: z.boolean(),
  snapshot: CopiedState,
  counts: z.object({ added: z.number(), changed: z.number(), removed: z.number() }),
  changes: z.array(Change),
  leftOut: z.array(Change.extend({ reason: z.string() })),
  isCut: z.boolean(),
  notes: z.array(z.string()),
  digest: z.string().optional(),
});
export type CommitView = z.infer<typeof CommitView>;

interface CommitFlags {
  readonly from: string;
  readonly paths?: string[];
  readonly exclude?: string[];
  readonly dryRun?: boolean;
  readonly message?: string;
  readonly name?: string;
  readonly digest?: string;
  readonly keepAptLists?: boolean;
}

export function addImageCommit(image: Command, contextOf: () => Context): void {
  image
    .command('commit')
    .description('make what was changed on a node the next version of its image; the node may be running, and its identity is left out')
    .requiredOption('--from <node>', 'the node that was changed')
    .option('--paths <path...>', 'only what is at or below these')
    .option('--exclude <pattern...>', "not what is at or below these; * stands for any part of a name: '/home/*/.cache'")
    .option('--dry-run', 'show what would be in it and what is left out, and stop')
    .option('-m, --message <text>', 'kept with the version')
    .option('--name <image>', 'publish under another name')
    .option('--digest <version>', "the overlay of this version of the image (default: that of the node's last boot)")
    .option('--keep-apt-lists', "take apt's lists of packages along")
    .action(async (flags: CommitFlags) => {
      const context = contextOf();
      requireRoot('Committing a node');
      await ensureTools('build', context);
      const { from, ...rest } = flags;
      const done = await withServer(context, async (client) =>
        CommitView.parse(await followJob(client, context, await client.call('POST', '/images/commit', { node: from, ...rest }))),
      );
      context.print(context.json ? JSON.stringify(done) : commitText(done));
    });
}

/** As in `diff --name-status`, then what is left out by reason, then what to know. */
export function commitText(view: CommitView): string {
  const { counts, digest, node, name, parent, parentName } = view;
  const total = counts.added + counts.changed + counts.removed;
  const lines = total === 0 ? [`Nothing was changed on ${node}.`] : folded(view.changes).map(changeLine);
  const reasons = Map.groupBy(view.leftOut, ({ reason }) => reason);
  const left = [...reasons].map(
    ([reason, changes]) => `  ${changes[0]?.path}${changes.length > 1 ? ` and ${changes.length - 1} more` : ''}: ${reason}`,
  );
  const version = digest === undefined ? undefined : `${name}:${digest.slice(0, 12)}`;
  return [
    ...lines,
    ...(view.isCut ? ['(the list is cut here; the numbers below are of all)'] : []),
    ...(left.length === 0 ? [] : ['', 'Left out:', ...left]),
    '',
    `${counts.added} added, ${counts.changed} changed, ${counts.removed} removed; ${copiedText(view.snapshot)}`,
    ...view.notes.map((note) => `Note: ${note}`),
    ...(version === undefined
      ? ['A dry run: nothing was published.']
      : [
          `${version} was published; its parent is ${parentName}:${parent.slice(0, 12)}`,
          `Nodes on ${name} boot it next, with a fresh overlay${view.bootsNext ? `; so does ${node}, whose own changes stay with the parent` : ''}.`,
          `To go back: cardless node set ${node} --image ${parentName}:${parent.slice(0, 12)}`,
        ]),
  ].join('\n');
}

/** Of a folder that is new, what is in it is counted and not listed. */
function folded(changes: readonly Change[]): Change[] {
  const shown: Change[] = [];
  for (const change of changes) {
    const above = shown.at(-1);
    if (above?.change === 'added' && above.type === 'directory' && change.path.startsWith(`${above.path}/`)) {
      shown[shown.length - 1] = { ...above, below: (above.below ?? 0) + 1, bytes: (above.bytes ?? 0) + (change.bytes ?? 0) };
    } else {
      shown.push(change);
    }
  }
  return shown;
}

function changeLine(change: Change): string {
  const letter = { added: '+', changed: '*', removed: '-' }[change.change];
  const isFolder = change.type === 'directory';
  const facts = [
    change.before === undefined ? '' : `${change.before} -> ${change.type}`,
    change.what.filter((aspect) => aspect !== 'type').join(', '),
    change.linkTo === undefined ? '' : `the same file as ${change.linkTo}`,
    change.below === undefined ? '' : `${change.below} below`,
    change.change === 'added' && !['file', 'directory'].includes(change.type) ? change.type : '',
    change.bytes === undefined ? '' : bytes(change.bytes),
  ].filter((fact) => fact !== '');
  return `${letter} ${change.path}${isFolder ? '/' : ''}${facts.length === 0 ? '' : `  (${facts.join('; ')})`}`;
}
