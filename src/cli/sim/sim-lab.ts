/** A network of its own with the real server, on which simulated boards boot. */
import { symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { projectRoot } from '../../config/places.ts';
import { UserError } from '../../domain/errors.ts';
import { ipv4FromNumber, ipv4ToNumber, parseIpv4, parseSubnet } from '../../domain/ipv4.ts';
import { parseMac } from '../../domain/mac.ts';
import { type Child, startChild } from '../../process/supervise.ts';
import { insideNamespace, Lab } from '../../sim/lab.ts';
import type { AdminClient } from '../admin-client.ts';
import type { Context } from '../context.ts';
import { DemoServer } from '../demo/demo-server.ts';
import { demoImage, ensureImages } from '../ensure-images.ts';
import { bytes } from '../format.ts';
import { ownRunFolder } from '../run-folder.ts';
import { downloadBootPrograms, ensureTools } from '../setup.ts';
import { parseBytes, type SimFlags, type SimPlan } from './sim-options.ts';
import { assertRunsInQemu, playInQemu } from './sim-qemu.ts';
import { SimReport } from './sim-report.ts';
import { publishSyntheticImage, syntheticImage } from './synthetic-image.ts';

/** Room for a thousand boards beside the router of mode proxy. */
const subnet = '10.79.0.0/20';
const serverAddress = '10.79.0.1';
const routerAddress = '10.79.0.2';
const routerFirst = '10.79.1.0';
const routerPool = `${routerFirst},10.79.15.250`;
/** Of the port that all boards share; no board has it. */
const portMac = '02:00:00:00:00:01';
const graceMs = 5000;

/** @returns nothing with --qemu, which prints its result itself */
export async function playInLab(context: Context, flags: SimFlags, plan: SimPlan): Promise<SimReport | undefined> {
  if (flags.qemu === true) {
    assertRunsInQemu(plan);
  }
  await ensureTools(flags.mode === 'proxy' || flags.qemu === true ? 'test' : 'serve', context);
  await downloadBootPrograms(context);
  const env = { ...context.env, CARDLESS_CACHE: context.places.cache };
  const state = await ownRunFolder(context.places.state, 'sim');
  const image = await prepareImage(context, flags, plan, state);
  await using stack = new AsyncDisposableStack();
  const lab = stack.use(await Lab.create({ name: 'sim', address: parseIpv4(serverAddress), subnet: parseSubnet(subnet) }));
  if (flags.mode === 'proxy') {
    stack.use(await startRouter(lab, plan, state));
  }
  const serve = flags.mode === 'proxy' ? ['--mode', 'proxy'] : ['--mode', 'full', '--subnet', subnet];
  const server = stack.use(new DemoServer({ lab, state, env, flags: [...serve, '--log-level', 'info'] }));
  await server.start();
  const first = await registerBoards(context, server.client, plan, image.name);
  if (flags.qemu === true) {
    await playInQemu(context, plan, lab, server, first);
    return undefined;
  }
  const namespace = await lab.addBoard(parseMac(portMac));
  return await playBoards(context, flags, namespace, image.expectedBytes);
}

interface LabImage {
  readonly name: string;
  readonly expectedBytes?: number;
}

async function prepareImage(context: Context, flags: SimFlags, plan: SimPlan, state: string): Promise<LabImage> {
  const wanted = flags.image ?? (flags.qemu === true ? demoImage : undefined);
  if (wanted !== undefined) {
    if (wanted === demoImage) {
      await ensureImages(context, [plan.model.arch]);
    }
    await symlink(context.places.images, join(state, 'images'));
    return { name: wanted };
  }
  const made = await publishSyntheticImage({
    images: join(state, 'images'),
    work: join(state, 'synthetic'),
    model: plan.model,
    ...(flags.bootBytes === undefined ? {} : { bootBytes: parseBytes('--boot-bytes', flags.bootBytes) }),
  });
  context.note(`made an image of ${bytes(made.expectedBytes)} of boot files for each ${plan.model.title}`);
  warnOfFileTimeout(context, plan, made.largestFileBytes);
  return { name: syntheticImage, expectedBytes: made.expectedBytes };
}

/** An EEPROM gives a file 30 s, however many boards share the line. */
function warnOfFileTimeout(context: Context, plan: SimPlan, largestFileBytes: number): void {
  const { bitsPerSecond } = plan.faults;
  const limitMs = plan.fileTimeoutMs ?? 30_000;
  const ms = bitsPerSecond === undefined ? 0 : (plan.boards.length * largestFileBytes * 8000) / bitsPerSecond;
  if (plan.model.firmware === 'eeprom' && ms * 1.05 > limitMs) {
    context.note(
      `note: ${plan.boards.length} kernels of ${bytes(largestFileBytes)} alone keep this line busy for ${Math.ceil(ms / 1000)} s, and the boot loader's ` +
        `TFTP_FILE_TIMEOUT is ${limitMs / 1000} s; such boards need a longer one in their EEPROM (here: --file-timeout)`,
    );
  }
}

/** Names sim001, sim002, ... @returns the first */
export async function registerBoards(context: Context, client: AdminClient, plan: SimPlan, image: string | undefined): Promise<string> {
  const width = Math.max(3, String(plan.boards.length).length);
  const last = String(plan.boards.length).padStart(width, '0');
  const first = '1'.padStart(width, '0');
  await client.call('POST', '/nodes', {
    name: plan.boards.length === 1 ? `sim${first}` : `sim[${first}-${last}]`,
    serial: plan.boards.map((board) => board.serial).join(','),
    mac: plan.boards.map((board) => board.mac).join(','),
    ...(image === undefined ? {} : { image }),
  });
  context.note(`registered ${plan.boards.length === 1 ? `sim${first}` : `sim${first} to sim${last}`}`);
  return `sim${first}`;
}

/**
 * The home router: gives addresses and knows nothing of booting. It has a reservation for each board: a 3B never sends a
 * REQUEST, so a router without them may well offer one address to two boards.
 */
async function startRouter(lab: Lab, { boards }: SimPlan, state: string): Promise<Child> {
  const hosts = join(state, 'router-hosts');
  const first = ipv4ToNumber(parseIpv4(routerFirst));
  await writeFile(hosts, boards.map(({ mac }, index) => `${mac},${ipv4FromNumber(first + index)}\n`).join(''));
  const router = await lab.addBoard(parseMac('02:00:00:00:00:02'));
  const enter = (file: string, args: readonly string[]): Child => {
    const [program, all] = insideNamespace(router, file, args);
    return startChild(program, all, { graceMs });
  };
  await enter('ip', ['address', 'add', `${routerAddress}/20`, 'dev', 'eth0']).ended;
  const args = [
    '--keep-in-foreground',
    '--conf-file=/dev/null',
    '--port=0',
    '--interface=eth0',
    '--bind-interfaces',
    '--leasefile-ro',
    '--pid-file=',
    '--no-ping',
  ];
  return enter('dnsmasq', [...args, `--dhcp-range=${routerPool},1h`, `--dhcp-hostsfile=${hosts}`, '--dhcp-lease-max=4000']);
}

/** In a process of its own, because a process is in one network name space. */
async function playBoards(context: Context, flags: SimFlags, namespace: string, expectedBytes: number | undefined): Promise<SimReport> {
  const args = [join(projectRoot, 'src/main.ts'), 'sim', '--json', '--interface', 'eth0', ...forwardedFlags(flags)];
  if (expectedBytes !== undefined) {
    args.push('--expected-bytes', String(expectedBytes));
  }
  const [file, all] = insideNamespace(namespace, process.execPath, args);
  let last = '';
  let report: SimReport | undefined;
  await using child = startChild(file, all, {
    graceMs,
    onLine: (line) => {
      if (line.startsWith('{"ok":')) {
        report = SimReport.parse(JSON.parse(line));
      } else {
        last = line;
        context.note(line);
      }
    },
  });
  const stop = (): void => void child.stop();
  context.signal.addEventListener('abort', stop, { once: true });
  await child.ended;
  context.signal.removeEventListener('abort', stop);
  if (context.signal.aborted) {
    throw new UserError('cancelled', 'Stopped');
  }
  // The last line may be read a moment after the process is gone.
  for (let turn = 0; report === undefined && turn < 50; turn += 1) {
    await sleep(20);
  }
  if (!report) {
    throw new UserError('failed', `The simulated boards ended without a result: ${last}`);
  }
  return report;
}

function forwardedFlags(flags: SimFlags): string[] {
  const given: [string, string | undefined][] = [
    ['--model', flags.model],
    ['--count', flags.count],
    ['--seed', flags.seed],
    ['--loss', flags.loss],
    ['--dup', flags.dup],
    ['--reorder', flags.reorder],
    ['--latency', flags.latency],
    ['--bandwidth', flags.bandwidth],
    ['--serial', flags.serial],
    ['--first-serial', flags.firstSerial],
    ['--mac', flags.mac],
    ['--file-timeout', flags.fileTimeout],
    ['--out', flags.out],
  ];
  return given.flatMap(([flag, value]) => (value === undefined ? [] : [flag, value]));
}
