import { resolve } from 'node:path';
import type { Command } from 'commander';
import { z } from 'zod';
import { withServer } from './admin-client.ts';
import type { Context } from './context.ts';
import { CopiedState, copiedText } from './copied-state.ts';
import { followJob } from './follow-job.ts';
import { bytes } from './format.ts';
import { OverlayListing, overlayTable, overlayText } from './overlay/overlay-view.ts';

const Done = z.looseObject({
  node: z.string(),
  digest: z.string().optional(),
  label: z.string().optional(),
  when: z.string().optional(),
  copied: CopiedState.optional(),
  directory: z.string().optional(),
  bytes: z.number().optional(),
  paths: z.array(z.string()).optional(),
  /** Why it was not done with this node. */
  reason: z.string().optional(),
  hint: z.string().optional(),
});
type Done = z.infer<typeof Done>;

interface Verb {
  readonly method: 'POST' | 'DELETE';
  readonly path: string;
  readonly body?: object;
  readonly isJob?: boolean;
  readonly say: (done: Done) => string;
}

const aRange = 'a name or a range: red[5-7]';
const ofVersion = ['--version <digits>', 'of this version, by its first digits (default: what the node last booted)'] as const;

export function addOverlayCommands(program: Command, contextOf: () => Context): void {
  const overlay = program
    .command('overlay')
    .description('what nodes write: keep, restore, copy, look into and delete the disks of persistent nodes');
  const run = async (verb: Verb): Promise<void> => await runVerb(contextOf(), verb);
  addListings(overlay, contextOf);

  overlay
    .command('reset')
    .description('a fresh overlay: at once, or at the next boot of a node that runs')
    .argument('<names>', aRange)
    .option(...ofVersion)
    .action((names: string, options: object) =>
      run({ method: 'POST', path: pathOf(names, 'reset'), body: options, say: (done) => `${done.node} starts afresh${when(done)}` }),
    );

  overlay
    .command('snapshot')
    .description('keep the state that an overlay has now; a node that runs holds still for it where its agent answers')
    .argument('<names>', aRange)
    .option('--as <label>', 'what to call it (default: date and time, in UTC)')
    .option(...ofVersion)
    .action((names: string, options: object) =>
      run({
        method: 'POST',
        path: pathOf(names, 'snapshot'),
        body: options,
        isJob: true,
        say: (done) => `${done.node}: kept as ${done.label}${copied(done)}`,
      }),
    );

  overlay
    .command('restore')
    .description('go back to a snapshot: at once, or at the next boot of a node that runs')
    .argument('<names>', aRange)
    .argument('<label>', 'as overlay show lists it')
    .option(...ofVersion)
    .action((names: string, label: string, options: object) =>
      run({
        method: 'POST',
        path: pathOf(names, 'restore'),
        body: { ...options, label },
        isJob: true,
        say: (done) => `${done.node} goes back to ${done.label}${when(done)}`,
      }),
    );

  overlay
    .command('clone')
    .description("copy a node's state to other boards of the same image version; they keep their own names and keys")
    .argument('<from>', 'the node that has the state')
    .argument('<to>', aRange)
    .option(...ofVersion)
    .action((from: string, to: string, options: object) =>
      run({
        method: 'POST',
        path: pathOf(from, 'clone'),
        body: { ...options, to },
        isJob: true,
        say: (done) => `${done.node} has the state of ${from}${when(done)}${copied(done)}`,
      }),
    );

  addMounts(overlay, run);

  overlay
    .command('resize')
    .description('make overlays larger: at once, or at the next boot of a node that runs')
    .argument('<names>', aRange)
    .argument('<size>', 'for example 16G')
    .action((names: string, size: string) =>
      run({
        method: 'POST',
        path: pathOf(names, 'resize'),
        body: { size },
        isJob: true,
        say: (done) => `${done.node}: ${bytes(done.bytes ?? 0)}${when(done)}`,
      }),
    );

  overlay
    .command('carry')
    .description('copy paths out of an overlay of an earlier version, at the next boot of another one')
    .argument('<names>', aRange)
    .argument('<paths...>', 'files or folders of the node: /home /etc/myapp.conf')
    .option('--from <digits>', 'the version to copy from (default: what the node last booted)')
    .action((names: string, paths: string[], options: object) =>
      run({
        method: 'POST',
        path: pathOf(names, 'carry'),
        body: { ...options, paths },
        say: (done) => `${done.node}: ${paths.join(' ')} goes along into the next version that it boots`,
      }),
    );

  overlay
    .command('rm')
    .description('delete overlays with their snapshots, or one snapshot; not of a node that runs')
    .argument('<names>', aRange)
    .option('--version <digits>', 'only this version, by its first digits (default: all)')
    .option('--snapshot <label>', 'only this snapshot')
    .option('--force', 'also when a connection to it is open')
    .action((names: string, options: object) =>
      run({
        method: 'DELETE',
        path: pathOf(names),
        body: options,
        say: (done) =>
          `deleted ${done.label === undefined ? 'the overlay' : `the snapshot ${done.label}`} of ${done.node}, version ${done.digest?.slice(0, 12)}`,
      }),
    );
}

function addListings(overlay: Command, contextOf: () => Context): void {
  const list = async (names: string | undefined): Promise<OverlayListing> =>
    OverlayListing.parse(await withServer(contextOf(), (client) => client.call('GET', names === undefined ? '/overlays' : pathOf(names))));
  overlay
    .command('list')
    .description('all overlays and data volumes, with what they take')
    .argument('[names]', aRange)
    .action(async (names: string | undefined) => {
      const context = contextOf();
      const listing = await list(names);
      context.print(context.json ? JSON.stringify(listing) : overlayTable(listing, Date.now()));
    });
  overlay
    .command('show')
    .description('the overlays of a node, version by version, with their snapshots')
    .argument('<names>', aRange)
    .action(async (names: string) => {
      const context = contextOf();
      const listing = await list(names);
      context.print(context.json ? JSON.stringify(listing) : overlayText(listing, Date.now()));
    });
}

function addMounts(overlay: Command, run: (verb: Verb) => Promise<void>): void {
  overlay
    .command('mount')
    .description('show what a node sees, read-only, on this machine')
    .argument('<name>', 'one node')
    .argument('[dir]', 'an empty folder (default: views/NAME in the state folder)')
    .option('--snapshot <label>', 'as this snapshot has it')
    .option(...ofVersion)
    .action((name: string, directory: string | undefined, options: object) => {
      const body = { ...options, ...(directory === undefined ? {} : { directory: resolve(directory) }) };
      return run({
        method: 'POST',
        path: pathOf(name, 'mount'),
        body,
        isJob: true,
        say: (done) => `${done.node} is at ${done.directory}${copied(done)}`,
      });
    });
  overlay
    .command('unmount')
    .description('take down what mount put there')
    .argument('<names>', aRange)
    .action((names: string) =>
      run({ method: 'POST', path: pathOf(names, 'unmount'), say: (done) => `${done.node} is no longer at ${done.directory}` }),
    );
}

async function runVerb(context: Context, verb: Verb): Promise<void> {
  const { method, path, body, isJob = false, say } = verb;
  const done = await withServer(context, async (client) => {
    const answer = await client.call(method, path, body);
    return isJob ? z.object({ done: z.array(z.unknown()) }).parse(await followJob(client, context, answer)).done : answer;
  });
  const all = z.array(Done).parse(done);
  context.print(context.json ? JSON.stringify(all) : all.map((one) => notDone(one) ?? say(one)).join('\n'));
  process.exitCode = all.every(({ reason }) => reason === undefined) ? 0 : 1;
}

function notDone({ node, reason, hint }: Done): string | undefined {
  return reason === undefined ? undefined : `${node}: not done: ${reason}${hint === undefined ? '' : `. ${hint}`}`;
}

function pathOf(names: string, verb?: string): string {
  return `/overlays/${encodeURIComponent(names)}${verb === undefined ? '' : `/${verb}`}`;
}

function when(done: Done): string {
  return done.when === 'next boot' ? ' at its next boot' : '';
}

function copied(done: Done): string {
  return done.copied ? `; ${copiedText(done.copied)}` : '';
}
