/** A guest of the outage tests: a small PC, its node, and a shell in it. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect } from 'vitest';
import { waitReady } from '#src/cli/demo/wait-ready.ts';
import { systemClock } from '#src/daemon/system-clock.ts';
import { parseMac } from '#src/domain/mac.ts';
import { parseSerial } from '#src/domain/serial.ts';
import { VirtualPc } from '#src/sim/machines.ts';
import { cardless, ran, type TestLab } from '../lab-server.ts';

const bootTimeoutMs = 10 * 60_000;

export interface GuestOptions {
  readonly lab: TestLab;
  readonly index: number;
  readonly image?: string;
  readonly memoryMib?: number;
  readonly hardware?: readonly string[];
}

/** What a guest has seen of an outage. */
export interface Evidence {
  readonly name: string;
  readonly written: number;
  readonly lines: number;
  readonly passes: number;
}

export class Guest implements AsyncDisposable {
  readonly name: string;
  readonly pc: VirtualPc;
  readonly #lab: TestLab;
  #address: string | undefined;

  constructor(lab: TestLab, name: string, pc: VirtualPc) {
    this.#lab = lab;
    this.name = name;
    this.pc = pc;
  }

  static async create({ lab, index, image = 'survive', memoryMib = 256, hardware = [] }: GuestOptions): Promise<Guest> {
    const name = `guest${index}`;
    const serial = `5f0c2a4e-7d1b-4e9a-8c36-2b90d4a17e${String(index).padStart(2, '0')}`;
    const mac = `52:54:00:12:34:${String(index).padStart(2, '0')}`;
    const add = ['--state', lab.state, 'node', 'add', name, '--serial', serial, '--image', image, '--ip', `10.78.0.${20 + index}`];
    const added = await cardless(add);
    expect(added.stderr).toBe('');
    const directory = join(lab.state, name);
    const pc = new VirtualPc({
      lab: lab.lab,
      clock: systemClock,
      mac: parseMac(mac),
      serial: parseSerial(serial),
      directory,
      memoryMib,
      hardware,
      onLine: () => {},
    });
    return new Guest(lab, name, pc);
  }

  /** Resolves when it is ready. */
  async boot(): Promise<this> {
    await this.pc.powerOn();
    return await this.ready();
  }

  async ready(after?: string): Promise<this> {
    const { server } = this.#lab;
    const signal = new AbortController().signal;
    const node = await waitReady({ server, name: this.name, after, timeoutMs: bootTimeoutMs, consoleFile: this.pc.consoleFile, signal });
    this.#address = node.address;
    return this;
  }

  async bootId(): Promise<string | undefined> {
    return (await this.#lab.server.node(this.name)).boot?.id;
  }

  /** A shell command in the guest; its stdout. */
  async sh(command: string): Promise<string> {
    const talk = `exec 3<>/dev/tcp/${this.#address}/99; cat >&3; cat <&3`;
    const [file, args] = this.#lab.lab.inside('bash', ['-c', talk]);
    const { stdout } = await execa(file, args, { input: `${command}\nexit\n`, timeout: 60_000 });
    return stdout;
  }

  async startLoad(): Promise<void> {
    await this.sh('rm -f /run/stop /var/lines; load >/dev/null 2>&1 </dev/null &');
  }

  /** How many lines it has on its disk as far as it knows, and how often it compared everything. */
  async progress(): Promise<{ readonly written: number; readonly passes: number }> {
    const [written, passes] = (await this.sh('cat /run/written /run/passes')).split('\n').map(Number);
    return { written: written ?? 0, passes: passes ?? 0 };
  }

  /** Ends the load and checks all that it left. */
  async stopLoad(): Promise<Evidence> {
    await this.sh('touch /run/stop; while ps | grep -q "[b]in/load"; do sleep 0.2; done');
    const [written = '', passes = '', lines = '', bad = ''] = (
      await this.sh('cat /run/written; cat /run/passes; wc -l </var/lines; cat /run/bad')
    ).split('\n');
    expect(bad, `${this.name} read something else than it wrote`).toBe('');
    const numbered = await this.sh('echo 3 >/proc/sys/vm/drop_caches; cat /var/lines');
    expect(numbered.split('\n').map(Number)).toEqual(Array.from({ length: Number(lines) }, (_, index) => index + 1));
    expect(Number(lines)).toBeGreaterThanOrEqual(Number(written));
    expect(await this.kernelErrors()).toBe('');
    return { name: this.name, written: Number(written), lines: Number(lines), passes: Number(passes) };
  }

  async kernelErrors(): Promise<string> {
    return await this.sh(
      'dmesg | grep -E "I/O error|Aborting journal|Remounting filesystem read-only|EXT4-fs error|EXT4-fs warning|erofs: .*fail"',
    );
  }

  /** Through its own system. Resolves when the machine is off. */
  async shutDown(): Promise<void> {
    await this.sh('echo poweroff >/run/control');
    await this.pc.ended;
  }

  async console(): Promise<string> {
    return await readFile(this.pc.consoleFile, 'utf8');
  }

  /** Its overlay on the server. */
  async disk(): Promise<string> {
    const digest = (await this.#lab.server.node(this.name)).boot?.digest ?? '';
    return join(this.#lab.state, 'overlays', this.name, `${digest}.img`);
  }

  /** Of the disk on the server, when nobody has it open: what e2fsck says, and whether the journal has to be replayed. */
  async check(): Promise<{ readonly clean: boolean; readonly needsRecovery: boolean; readonly said: string }> {
    const disk = await this.disk();
    const fsck = await ran('e2fsck', ['-fn', disk]);
    const features = (await ran('dumpe2fs', ['-h', disk])).stdout;
    expect(features).toContain('Filesystem UUID');
    return { clean: fsck.code === 0, needsRecovery: features.includes('needs_recovery'), said: `${fsck.stdout}${fsck.stderr}` };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pc.powerOff();
  }
}
