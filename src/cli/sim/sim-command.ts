import { mkdir, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { type Command, Option } from 'commander';
import { systemClock } from '../../daemon/system-clock.ts';
import { UserError } from '../../domain/errors.ts';
import type { SimEvent } from '../../sim/board.ts';
import type { BoardResult } from '../../sim/boot.ts';
import { bootFileNames } from '../../sim/boot-files.ts';
import type { Identity } from '../../sim/identities.ts';
import { models } from '../../sim/models.ts';
import { playStorm } from '../../sim/storm.ts';
import { withServer } from '../admin-client.ts';
import { type Context, requireRoot } from '../context.ts';
import { bytes } from '../format.ts';
import { playInLab, registerBoards } from './sim-lab.ts';
import { readPlan, type SimFlags, type SimPlan } from './sim-options.ts';
import { playCapture } from './sim-replay.ts';
import { progressText, reportText, type SimReport, simReport } from './sim-report.ts';

const progressEveryMs = 2000;
/** With more boards their single steps are noise. */
const maxTalkative = 1;

const help = `
Models:
${models.map((model) => `  ${model.name.padEnd(12)} ${model.title}`).join('\n')}

Without --interface, a network name space is made with the real server in it, the boards are registered there, and
nothing outside of it is touched. With --interface, boards are played on that interface against whatever server is
there, with MACs of their own; the interface keeps its addresses.

Loss, duplicates and reordering follow from --seed, each board with chances of its own, in both directions. --bandwidth
is the rate of the line from the servers to all boards together.

Examples:
  sudo ./cardless sim --model pi3b --count 48 --json
  sudo ./cardless sim --model pi4 --count 200 --boot-bytes 40M --bandwidth 1gbit --file-timeout 120s
  sudo ./cardless sim --model pi3b+ --qemu
  sudo ./cardless sim --model pi5 --loss 1% --latency 2ms --seed 7
  sudo ./cardless sim --interface eth0 --model pi4 --count 20 --register --image debian-13
  sudo ip netns exec lab ./cardless sim --interface veth0 --serial 91cdf03d --out /tmp/boot`;

export function addSimCommand(program: Command, contextOf: () => Context): void {
  program
    .command('sim')
    .description('hold the conversation of boards that boot, without the boards, and judge what the server says')
    .option('--model <model>', 'which board, see below', 'pi3b+')
    .option('--count <number>', 'how many of them, all switched on at once', '1')
    .option('--interface <name>', 'play on this interface, against the server that is there')
    .option('--lab', 'make a network with a server of its own (default without --interface)')
    .option('--mode <mode>', 'in the lab: full, or proxy beside a foreign DHCP server (default: full)')
    .option('--image <name>', 'what the boards boot (default in the lab: generated boot files)')
    .option('--boot-bytes <size>', 'in the lab: how much each board fetches, for example 40M')
    .option('--serial <serial>', 'serial number of a single board')
    .option('--mac <mac>', 'MAC address of a single board')
    .option('--first-serial <serial>', 'serial number of the first board; the others count up')
    .option('--register', 'with --interface: register the boards as sim001, sim002, ... at the running server')
    .option('--out <folder>', 'write what a single Pi fetched: kernel, initramfs, device tree, command line')
    .option('--loss <share>', 'packets that are lost, for example 1%', '0')
    .option('--dup <share>', 'packets that arrive twice', '0')
    .option('--reorder <share>', 'packets that arrive late', '0')
    .option('--latency <time>', 'one way, for example 2ms', '0')
    .option('--bandwidth <rate>', 'for example 1gbit or 100mbit (default: no limit)')
    .option('--seed <number>', 'decides serials, MACs and faults', '1')
    .option('--file-timeout <time>', "TFTP_FILE_TIMEOUT in the boards' EEPROM (default: 30s)")
    .option('--qemu', 'in the lab, one board: go on into a guest with the fetched bytes, until it is ready')
    .option('--replay <file>', 'send what the clients in a pcap file sent, and print what comes back')
    .addOption(new Option('--expected-bytes <number>').hideHelp())
    .addHelpText('after', help)
    .action(async (flags: SimFlags) => {
      const context = contextOf();
      const plan = readPlan(flags);
      requireRoot('Simulating boards');
      if (flags.replay !== undefined) {
        await playCapture(context, flags.replay, flags.interface);
        return;
      }
      const inLab = flags.interface === undefined;
      const report = inLab
        ? await playInLab(context, { ...flags, ...(flags.out === undefined ? {} : { out: resolve(flags.out) }) }, plan)
        : await playHere(context, flags, plan, flags.interface ?? '');
      if (!report) {
        return;
      }
      context.print(context.json ? JSON.stringify(report) : reportText(report));
      if (!report.ok) {
        throw new UserError('failed', failureText(report));
      }
    });
}

async function playHere(context: Context, flags: SimFlags, plan: SimPlan, interfaceName: string): Promise<SimReport> {
  announce(context, plan);
  if (flags.register === true) {
    await withServer(context, (client) => registerBoards(context, client, plan, flags.image));
  }
  const startedAt = Date.now();
  const { model, boards, faults, fileTimeoutMs } = plan;
  const results: BoardResult[] = [];
  let fetched = 0;
  const showProgress = (): void => {
    const elapsedMs = Date.now() - startedAt;
    context.note(
      progressText({ done: results.length, count: boards.length, bytes: fetched, expectedBytes: plan.expectedBytes, elapsedMs }),
    );
  };
  const timer = boards.length > maxTalkative ? setInterval(showProgress, progressEveryMs) : undefined;
  try {
    const storm = await playStorm({
      interfaceName,
      model,
      boards,
      faults,
      keep: flags.out !== undefined,
      clock: systemClock,
      signal: context.signal,
      onEvent: (_board: Identity, event: SimEvent) => {
        if (boards.length <= maxTalkative) {
          context.note(eventText(event));
        }
      },
      onBytes: (count) => {
        fetched += count;
      },
      onBoard: (result) => results.push(result),
      ...(fileTimeoutMs === undefined ? {} : { fileTimeoutMs }),
    });
    const [only] = storm.boards;
    if (flags.out !== undefined && only) {
      await writeBoot(only, flags.out);
    }
    return simReport({
      model: model.name,
      boards: storm.boards.map(({ boot, ...board }) => ({ ...board, ...(boot ? { address: boot.address, server: boot.server } : {}) })),
      seconds: (Date.now() - startedAt) / 1000,
      makespanSeconds: storm.makespanSeconds,
      cpuSeconds: cpuMicroseconds() / 1e6,
      ...(faults.bitsPerSecond === undefined ? {} : { bitsPerSecond: faults.bitsPerSecond }),
    });
  } finally {
    clearInterval(timer);
  }
}

/** So that the operator can register them before they are switched on for good. */
function announce(context: Context, { model, boards }: SimPlan): void {
  context.note(`${boards.length === 1 ? 'one' : boards.length} ${model.title}:`);
  for (const { serial, mac } of boards) {
    context.note(`  ${serial}  ${mac}`);
  }
}

function cpuMicroseconds(): number {
  const { user, system } = process.cpuUsage();
  return user + system;
}

async function writeBoot(result: BoardResult, folder: string): Promise<void> {
  const files = result.boot?.files;
  if (!files) {
    return;
  }
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, bootFileNames.kernel), files.kernel);
  await writeFile(join(folder, bootFileNames.initramfs), files.initramfs);
  await writeFile(join(folder, bootFileNames.deviceTree), files.deviceTree);
  await writeFile(join(folder, bootFileNames.commandLine), files.commandLine);
  for (const [name, overlay] of files.overlays) {
    await writeFile(join(folder, `${name}.dtbo`), overlay);
  }
}

function failureText(report: SimReport): string {
  const bad = report.boards.filter((board) => !board.booted || board.violations.length > 0);
  const [first] = bad;
  const what = first?.failure ?? `real firmware would have choked on this server: ${first?.violations.join('; ')}`;
  return `${bad.length} of ${report.count} boards did not boot as they should. The first, ${first?.serial}: ${what}`;
}

function eventText(event: SimEvent): string {
  switch (event.kind) {
    case 'discover':
      return `${event.stage}: DHCP DISCOVER, attempt ${event.attempt}`;
    case 'offer':
      return `${event.stage}: address ${event.address}, files from ${event.server}`;
    case 'file':
      return `${event.name}: ${event.result === 'found' ? `${bytes(event.bytes)} in ${event.ms} ms` : event.result === 'probed' ? 'is there' : 'not there'}`;
    case 'restart':
      return `begins again: ${event.why}`;
    default:
      return event satisfies never;
  }
}
