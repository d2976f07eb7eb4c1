/** One command that shows it all: a server, a Raspberry Pi and a PC without disks, on a network of their own. */
import { mkdir, rm, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Command } from 'commander';
import { systemClock } from '../../daemon/system-clock.ts';
import { UserError } from '../../domain/errors.ts';
import { parseIpv4, parseSubnet } from '../../domain/ipv4.ts';
import { parseMac } from '../../domain/mac.ts';
import { parseSerial } from '../../domain/serial.ts';
import { sha256File } from '../../images/publish.ts';
import { Lab } from '../../sim/lab.ts';
import { type Machine, VirtualPc, VirtualPi3 } from '../../sim/machines.ts';
import { type Context, requireRoot } from '../context.ts';
import { demoImage, ensureImages } from '../ensure-images.ts';
import type { ImageView } from '../image/image-view.ts';
import { timeline } from '../node/node-view.ts';
import { downloadBootPrograms, ensureTools } from '../setup.ts';
import { DemoServer } from './demo-server.ts';
import { LiveTable } from './live-table.ts';
import { type ProofContext, proveEphemeral, proveIdentity, provePersistent, proveReimage } from './proofs.ts';
import { waitReady } from './wait-ready.ts';

const bootTimeoutMs = 15 * 60_000;

const boards = [
  { name: 'pi1', kind: 'pi', serial: parseSerial('e16c4c16'), mac: parseMac('b8:27:eb:6c:4c:16'), arch: 'arm64', ephemeral: false },
  {
    name: 'pc1',
    kind: 'pc',
    serial: parseSerial('5f0c2a4e-7d1b-4e9a-8c36-2b90d4a17e55'),
    mac: parseMac('52:54:00:12:34:56'),
    arch: 'amd64',
    ephemeral: true,
  },
] as const;
type Board = (typeof boards)[number];

interface NodeResult {
  readonly name: string;
  readonly serial: string;
  readonly arch: string;
  readonly readySeconds: number;
  readonly hostname: boolean;
  readonly overlayRoot: boolean;
  readonly persisted: boolean;
  readonly reimaged: boolean;
  readonly ephemeral?: boolean;
  readonly error?: string;
}

export function addDemoCommand(program: Command, contextOf: () => Context): void {
  program
    .command('demo')
    .description('boot a Raspberry Pi and a PC that have no disk, on a private network on this machine')
    .option('--keep', 'leave everything running at the end, until Ctrl-C')
    .action(async (options: { keep?: boolean }) => {
      const context = contextOf();
      requireRoot('The demo');
      await ensureTools('demo', context);
      await downloadBootPrograms(context);
      const images = await ensureImages(
        context,
        boards.map((board) => board.arch),
      );
      const startedAt = Date.now();
      const { nodes, imagesUnchanged } = await runDemo(context, images, options.keep ?? false, (result) =>
        printResult(context, result, startedAt),
      );
      if (!imagesUnchanged || nodes.some((node) => node.error !== undefined)) {
        throw new UserError('failed', 'Not all of it held');
      }
    });
}

/** What is on while the demo plays. */
interface Stage {
  readonly context: Context;
  readonly server: DemoServer;
  readonly machines: ReadonlyMap<string, Machine>;
  readonly poweredOnAt: number;
}

interface DemoResult {
  readonly nodes: readonly NodeResult[];
  readonly imagesUnchanged: boolean;
}

function printResult(context: Context, { nodes, imagesUnchanged }: DemoResult, startedAt: number): void {
  const ok = imagesUnchanged && nodes.every((node) => node.error === undefined);
  if (context.json) {
    context.print(JSON.stringify({ ok, seconds: Math.round((Date.now() - startedAt) / 1000), imagesUnchanged, nodes }));
    return;
  }
  for (const node of nodes) {
    context.print(
      node.error === undefined
        ? `${node.name} (${node.arch}): ready in ${node.readySeconds.toFixed(0)} s, everything held`
        : `${node.name} (${node.arch}): ${node.error}`,
    );
  }
  context.print(imagesUnchanged ? "the shared images' bytes did not change" : 'A SHARED IMAGE WAS CHANGED');
}

async function runDemo(
  context: Context,
  images: readonly ImageView[],
  keep: boolean,
  onResult: (result: DemoResult) => void,
): Promise<DemoResult> {
  const { signal } = context;
  // A state of its own: the operator's nodes are not touched, the images are shared.
  const state = join(context.places.state, 'demo');
  await rm(state, { recursive: true, force: true });
  await mkdir(state, { recursive: true });
  await symlink(context.places.images, join(state, 'images'));
  await using stack = new AsyncDisposableStack();
  const lab = stack.use(await Lab.create({ name: 'demo', address: parseIpv4('10.77.0.1'), subnet: parseSubnet('10.77.0.0/24') }));
  // What was downloaded for this state: the lab has no network to do it again.
  const env = { ...context.env, CARDLESS_CACHE: context.places.cache };
  const server = stack.use(new DemoServer({ lab, state, env, flags: ['--mode', 'full', '--subnet', '10.77.0.0/24'] }));
  await server.start();
  for (const { name, serial } of boards) {
    await server.client.call('POST', '/nodes', { name, serial, image: demoImage });
  }
  const hashes = await hashRoots(context, images);
  const machines = new Map<string, Machine>(boards.map((board) => [board.name, stack.use(machineOf(board, lab, state))]));
  const stage: Stage = { context, server, machines, poweredOnAt: Date.now() };
  await Promise.all([...machines.values()].map((machine) => machine.powerOn()));
  context.note(`powered on ${boards.map((board) => `${board.name} (${board.kind === 'pi' ? 'Raspberry Pi 3B+' : 'PC'})`).join(' and ')}`);
  const booted = await bootAll(stage);
  for (const { name } of boards) {
    const { boot } = await server.node(name);
    context.note(`\n${name}: ${boot ? timeline(boot) : 'never asked'}`);
  }
  context.note('');
  const nodes = await Promise.all(booted.map(async (result) => (result.error === undefined ? await proveAll(stage, result) : result)));
  const after = await hashRoots(context, images);
  const result = { nodes, imagesUnchanged: after.every((hash, index) => hash === hashes[index]) };
  onResult(result);
  if (keep && !signal.aborted) {
    await holdOpen(stage, lab);
  }
  return result;
}

function machineOf(board: Board, lab: Lab, state: string): Machine {
  const options = { lab, clock: systemClock, mac: board.mac, serial: board.serial, directory: join(state, board.name), onLine: () => {} };
  return board.kind === 'pi' ? new VirtualPi3(options) : new VirtualPc(options);
}

/** The first boot of all boards, with a table that follows it. A board that does not come up has an error. */
async function bootAll(stage: Stage): Promise<NodeResult[]> {
  const over = new AbortController();
  const boots = Promise.all(boards.map((board) => firstBoot(stage, board))).finally(() => over.abort());
  const [results] = await Promise.all([boots, showTable(stage, over.signal)]);
  return results;
}

async function firstBoot({ context, server, machines, poweredOnAt }: Stage, board: Board): Promise<NodeResult> {
  const held = { hostname: false, overlayRoot: false, persisted: false, reimaged: false, ...(board.ephemeral ? { ephemeral: false } : {}) };
  const result = { name: board.name, serial: board.serial, arch: board.arch, ...held };
  const consoleFile = machines.get(board.name)?.consoleFile ?? '';
  try {
    await waitReady({ server, name: board.name, after: undefined, timeoutMs: bootTimeoutMs, consoleFile, signal: context.signal });
    return { ...result, readySeconds: (Date.now() - poweredOnAt) / 1000 };
  } catch (error) {
    return { ...result, readySeconds: (Date.now() - poweredOnAt) / 1000, error: failureOf(error) };
  }
}

async function showTable({ context, server, poweredOnAt }: Stage, over: AbortSignal): Promise<void> {
  const live = new LiveTable((text) => void process.stderr.write(text), process.stderr.isTTY);
  const readyAt = new Map<string, number>();
  for (let isLast = false; !isLast && !context.signal.aborted; ) {
    isLast = over.aborted;
    const nodes = await Promise.all(boards.map(({ name }) => server.node(name)));
    for (const node of nodes) {
      if (node.state === 'ready' && !readyAt.has(node.name)) {
        readyAt.set(node.name, Date.now());
      }
    }
    live.show(
      nodes.map((node) => ({ node, poweredOnAt, readyAt: readyAt.get(node.name) })),
      Date.now(),
    );
    await sleep(500);
  }
}

/** A promise that does not hold ends this node's proofs, not those of the others. */
async function proveAll({ context, server, machines }: Stage, booted: NodeResult): Promise<NodeResult> {
  const machine = machines.get(booted.name);
  if (!machine) {
    return booted;
  }
  const proof: ProofContext = { server, name: booted.name, machine, signal: context.signal, note: context.note };
  let result = booted;
  try {
    await proveIdentity(proof);
    result = { ...result, hostname: true, overlayRoot: true };
    await provePersistent(proof);
    result = { ...result, persisted: true };
    await proveReimage(proof);
    result = { ...result, reimaged: true };
    if (result.ephemeral !== undefined) {
      await proveEphemeral(proof);
      result = { ...result, ephemeral: true };
    }
    return result;
  } catch (error) {
    const failure = failureOf(error);
    context.note(`${booted.name}: ${failure}`);
    return { ...result, error: failure };
  }
}

/** What the operator can read; being cancelled ends everything instead. */
function failureOf(error: unknown): string {
  if (error instanceof UserError && error.code !== 'cancelled') {
    return error.message;
  }
  throw error;
}

async function hashRoots(context: Context, images: readonly ImageView[]): Promise<string[]> {
  return await Promise.all(images.map((image) => sha256File(join(context.places.images, image.digest, 'root.img'))));
}

async function holdOpen({ context, server, machines }: Stage, lab: Lab): Promise<void> {
  const nodes = await Promise.all(boards.map(({ name }) => server.node(name)));
  context.note('\nStill running. To look around, in another terminal:');
  context.note(`  sudo ./cardless --state ${server.places.state} node list`);
  for (const node of nodes) {
    context.note(`  sudo ip netns exec ${lab.namespace} ssh -i ${server.keyFile} root@${node.address ?? '?'}   # ${node.name}`);
    context.note(`  tail -f ${machines.get(node.name)?.consoleFile ?? '?'}`);
  }
  context.note(`  tail -f ${server.logFile}`);
  context.note('Ctrl-C ends everything.');
  await new Promise<void>((resolve) => context.signal.addEventListener('abort', () => resolve(), { once: true }));
}
