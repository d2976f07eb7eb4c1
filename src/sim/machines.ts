/** Machines without a disk, in QEMU: what is between power-on and a kernel is real firmware or the simulated ROM. */
import { mkdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { projectRoot } from '../config/places.ts';
import type { Clock } from '../domain/clock.ts';
import type { Mac } from '../domain/mac.ts';
import type { Serial } from '../domain/serial.ts';
import { type Child, type ChildOutcome, startChild } from '../process/supervise.ts';
import { bootFileNames } from './boot-files.ts';
import { insideNamespace, type Lab } from './lab.ts';

const graceMs = 3000;
/** What a board waits before it tries again. */
const retryMs = 3000;

export interface Machine extends AsyncDisposable {
  readonly consoleFile: string;
  powerOn(): Promise<void>;
  /** Pulls the plug. */
  powerOff(): Promise<void>;
}

export interface MachineOptions {
  readonly lab: Lab;
  readonly clock: Clock;
  readonly mac: Mac;
  readonly serial: Serial;
  /** For console logs and fetched files; made if it is not there. */
  readonly directory: string;
  /** What the firmware did, a line each. */
  readonly onLine: (line: string) => void;
}

export interface PcMachineOptions extends MachineOptions {
  readonly memoryMib?: number;
  /** Further arguments for QEMU. */
  readonly hardware?: readonly string[];
}

export interface Pi3MachineOptions extends MachineOptions {
  /** Of the simulator, which plays the firmware. */
  readonly model?: string;
}

/**
 * A PC with SeaBIOS, QEMU's own iPXE ROM on a virtio network card, and nothing else to boot from. A reboot of the
 * guest is a real one: BIOS, ROM, DHCP.
 */
export class VirtualPc implements Machine {
  readonly #options: PcMachineOptions;
  #child: Child | undefined;
  #tap = '';

  constructor(options: PcMachineOptions) {
    this.#options = options;
  }

  get consoleFile(): string {
    return join(this.#options.directory, 'console.log');
  }

  /** Its port of the lab's bridge. */
  get tap(): string {
    return this.#tap;
  }

  /** Until it is switched off, by itself too. */
  get ended(): Promise<ChildOutcome> | undefined {
    return this.#child?.ended;
  }

  async powerOn(): Promise<void> {
    const { lab, mac, serial, directory, onLine, memoryMib = 768, hardware = [] } = this.#options;
    await mkdir(directory, { recursive: true });
    const tap = await lab.addTap();
    this.#tap = tap;
    const memory = ['-m', String(memoryMib), ...hardware];
    const args = ['-accel', 'tcg', '-cpu', 'max', ...memory, '-uuid', serial, '-boot', 'n', ...headless(this.consoleFile)];
    const network = ['-netdev', tapDevice(tap), '-device', `virtio-net-pci,netdev=net0,mac=${mac}`, '-device', 'virtio-rng-pci'];
    const [file, all] = lab.inside('qemu-system-x86_64', [...args, ...network]);
    this.#child = startChild(file, all, { graceMs, onLine });
  }

  async powerOff(): Promise<void> {
    await this.#child?.stop();
    this.#child = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.powerOff();
  }
}

/**
 * A Raspberry Pi 3B+. QEMU has no boot ROM for it, so the simulator talks to the server in its place and QEMU starts
 * with the bytes it fetched, as start.elf would start them. At a reboot it all begins again.
 */
export class VirtualPi3 implements Machine {
  readonly #options: Pi3MachineOptions;
  #child: Child | undefined;
  #isOn = false;
  #life: Promise<void> | undefined;

  constructor(options: Pi3MachineOptions) {
    this.#options = options;
  }

  get consoleFile(): string {
    return join(this.#options.directory, 'console.log');
  }

  async powerOn(): Promise<void> {
    await mkdir(this.#options.directory, { recursive: true });
    this.#isOn = true;
    this.#life = this.#live();
  }

  async powerOff(): Promise<void> {
    this.#isOn = false;
    await this.#child?.stop();
    await this.#life;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.powerOff();
  }

  async #live(): Promise<void> {
    const { clock, onLine } = this.#options;
    const tap = await this.#options.lab.addTap();
    while (this.#isOn) {
      const firmware = await this.#runFirmware();
      if (this.#isOn && firmware.kind === 'exited' && firmware.exitCode === 0) {
        const outcome = await this.#runKernel(tap);
        onLine(`the guest ended: ${JSON.stringify(outcome)}`);
      } else if (this.#isOn) {
        await new Promise<void>((resolve) => clock.after(retryMs, resolve));
      }
    }
  }

  async #runFirmware(): Promise<ChildOutcome> {
    const { lab, mac, serial, directory, onLine, model = 'pi3b+' } = this.#options;
    const namespace = await lab.addBoard(mac);
    try {
      const sim = [
        join(projectRoot, 'src/main.ts'),
        'sim',
        '--interface',
        'eth0',
        '--model',
        model,
        '--serial',
        serial,
        '--mac',
        mac,
        '--out',
        directory,
      ];
      const [file, args] = insideNamespace(namespace, process.execPath, sim);
      return await this.#run(file, args, onLine);
    } finally {
      // The same MAC must not be at two ports of the bridge when the guest starts.
      await lab.removeBoard(namespace);
    }
  }

  async #runKernel(tap: string): Promise<ChildOutcome> {
    const { lab, mac, directory, onLine } = this.#options;
    const commandLine = await readFile(join(directory, bootFileNames.commandLine), 'utf8');
    const boot = [
      ['-kernel', bootFileNames.kernel],
      ['-initrd', bootFileNames.initramfs],
      ['-dtb', bootFileNames.deviceTree],
    ].flatMap(([option = '', name = '']) => [option, join(directory, name)]);
    const network = ['-netdev', tapDevice(tap), '-device', `usb-net,netdev=net0,mac=${mac}`];
    // The console of a Pi under a mainline kernel is its second serial port.
    const args = [
      '-M',
      'raspi3b',
      ...boot,
      '-append',
      commandLine,
      ...network,
      '-serial',
      'null',
      ...headless(this.consoleFile),
      '-no-reboot',
    ];
    const [file, all] = lab.inside('qemu-system-aarch64', args);
    return await this.#run(file, all, onLine);
  }

  async #run(file: string, args: readonly string[], onLine: (line: string) => void): Promise<ChildOutcome> {
    this.#child = startChild(file, args, { graceMs, onLine });
    if (!this.#isOn) {
      return await this.#child.stop();
    }
    return await this.#child.ended;
  }
}

function tapDevice(tap: string): string {
  return `tap,id=net0,ifname=${tap},script=no,downscript=no`;
}

function headless(consoleFile: string): string[] {
  return [
    '-display',
    'none',
    '-monitor',
    'none',
    '-chardev',
    `file,id=console,path=${consoleFile},append=on`,
    '-serial',
    'chardev:console',
  ];
}
