/** Four machines without disks, a server with every service on, and a world behind it. */
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { waitReady } from '#src/cli/demo/wait-ready.ts';
import type { NodeView } from '#src/cli/node/node-view.ts';
import { projectRoot } from '#src/config/places.ts';
import { systemClock } from '#src/daemon/system-clock.ts';
import { parseMac } from '#src/domain/mac.ts';
import { parseSerial } from '#src/domain/serial.ts';
import { run } from '#src/process/run.ts';
import { startChild } from '#src/process/supervise.ts';
import { insideNamespace, removeNamespace } from '#src/sim/lab.ts';
import { type Machine, type MachineOptions, VirtualPc, VirtualPi3 } from '#src/sim/machines.ts';
import { PcMachine } from '#src/sim/pc-machines.ts';
import { useRealImages } from '../../test/support/guests.ts';
import { startLab, subnet, type TestLab } from '../../test/support/lab-server.ts';

/** Four emulated machines on two processors take this long to start. */
const bootTimeoutMs = 20 * 60_000;
const commandTimeoutMs = 8 * 60_000;
/** Of the world's only host. */
export const worldAddress = '192.0.2.1';
/** What the world sees of nodes. */
export const uplinkAddress = '192.0.2.10';

export interface Board {
  readonly name: string;
  readonly kind: 'pi' | 'arm' | 'pc';
  readonly serial: string;
  readonly mac: string;
}

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export interface ClusterLab extends AsyncDisposable {
  readonly lab: TestLab;
  /** For keys, inventories and whatever else an operator keeps. */
  readonly desk: string;
  powerOn(board: Board): Promise<void>;
  powerOff(name: string): Promise<void>;
  ready(name: string): Promise<NodeView>;
  /** A program on the server, by an operator whose home is the desk. */
  at(file: string, ...args: string[]): Promise<Ran>;
  /** What it printed. @throws Error when its exit code is not 0 */
  must(file: string, ...args: string[]): Promise<string>;
  /** The same for cardless. */
  cardless(...args: string[]): Promise<string>;
}

export async function clusterLab(): Promise<ClusterLab> {
  await using stack = new AsyncDisposableStack();
  const services = ['--name-server', '--gateway', '--time-server', 'local', '--shared-directory'];
  const lab = stack.use(await startLab('cluster', ['--mode', 'full', '--subnet', subnet, ...services]));
  await useRealImages(lab);
  const desk = join(lab.state, 'desk');
  await mkdir(desk);
  await addWorld(lab, stack);
  const machines = new Map<string, Machine>();
  const at = async (file: string, ...args: string[]): Promise<Ran> => {
    const result = await execa(...lab.lab.inside(file, args), {
      reject: false,
      stdin: 'ignore',
      cwd: desk,
      env: { HOME: desk },
      timeout: commandTimeoutMs,
    });
    return { code: result.exitCode ?? -1, stdout: String(result.stdout), stderr: String(result.stderr) };
  };
  const must = async (file: string, ...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await at(file, ...args);
    if (code !== 0) {
      throw new Error(`${file} ${args.join(' ')}: exit code ${code}\n${stdout}\n${stderr}`);
    }
    return stdout;
  };
  const owned = stack.move();
  return {
    lab,
    desk,
    at,
    must,
    cardless: (...args) => must(process.execPath, join(projectRoot, 'src/main.ts'), '--state', lab.state, ...args),
    powerOn: async (board) => {
      const machine = owned.use(machineOf(lab, board));
      machines.set(board.name, machine);
      await machine.powerOn();
    },
    powerOff: async (name) => await machines.get(name)?.powerOff(),
    ready: (name) =>
      waitReady({
        server: lab.server,
        name,
        after: undefined,
        timeoutMs: bootTimeoutMs,
        consoleFile: machines.get(name)?.consoleFile ?? '',
        signal: new AbortController().signal,
      }),
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

function machineOf(lab: TestLab, { kind, serial, mac }: Board): Machine {
  const options: MachineOptions = {
    lab: lab.lab,
    clock: systemClock,
    mac: parseMac(mac),
    serial: parseSerial(serial),
    directory: join(lab.state, serial),
    onLine: () => {},
  };
  switch (kind) {
    case 'pi':
      return new VirtualPi3(options);
    case 'arm':
      return new PcMachine({ ...options, model: 'aavmf-pxe' });
    case 'pc':
      return new VirtualPc(options);
  }
}

/** A host behind the server that has no way to the nodes, and answers with the address of who asks. */
async function addWorld({ lab, state }: TestLab, stack: AsyncDisposableStack): Promise<void> {
  const world = `${lab.namespace}-world`;
  await run('ip', ['netns', 'add', world]);
  stack.defer(() => removeNamespace(world));
  const steps = [
    ['-n', lab.namespace, 'link', 'add', 'wan0', 'type', 'veth', 'peer', 'name', 'eth0', 'netns', world],
    ['-n', lab.namespace, 'address', 'add', `${uplinkAddress}/24`, 'dev', 'wan0'],
    ['-n', lab.namespace, 'link', 'set', 'wan0', 'up'],
    ['-n', world, 'address', 'add', `${worldAddress}/24`, 'dev', 'eth0'],
    ['-n', world, 'link', 'set', 'eth0', 'up'],
    ['-n', lab.namespace, 'route', 'add', 'default', 'via', worldAddress],
  ];
  for (const step of steps) {
    await run('ip', step);
  }
  const page = join(state, 'whoami.mjs');
  await writeFile(
    page,
    "import { createServer } from 'node:http';\ncreateServer((request, response) => response.end(request.socket.remoteAddress)).listen(8000, '0.0.0.0');\n",
  );
  stack.use(startChild(...insideNamespace(world, process.execPath, [page]), { graceMs: 1000 }));
}
