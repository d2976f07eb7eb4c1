/** NFS-Ganesha as a child of ours: one for each interface, on its address alone. It ends with us, and nodes wait for the next. */
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import type { Clock } from '../../domain/clock.ts';
import { UserError } from '../../domain/errors.ts';
import type { Ipv4 } from '../../domain/ipv4.ts';
import { nextRestart, type RestartHistory } from '../../policy/restart-policy.ts';
import { mortalCommand } from '../../process/run.ts';
import { signalProcess } from '../../process/signal.ts';
import { type Child, startChild } from '../../process/supervise.ts';

const startTimeoutMs = 20_000;
const graceMs = 10_000;
const probeEveryMs = 100;
const keptLines = 20;

export interface GaneshaOptions {
  readonly address: Ipv4;
  readonly port: number;
  /** For its configuration and its process id. */
  readonly directory: string;
  readonly clock: Clock;
  readonly onEvent: (what: string, fields: Readonly<Record<string, unknown>>) => void;
  readonly onLine: (line: string) => void;
}

export class Ganesha implements AsyncDisposable {
  readonly #options: GaneshaOptions;
  readonly #config: string;
  readonly #said: string[] = [];
  #child: Child | undefined;
  #history: RestartHistory = { failures: [] };
  #cancel = (): void => {};
  #isStopped = false;

  constructor(options: GaneshaOptions) {
    this.#options = options;
    this.#config = join(options.directory, 'ganesha.conf');
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Resolves when its port is open. @throws UserError with its last words */
  async start(config: string): Promise<void> {
    await mkdir(this.#options.directory, { recursive: true });
    await this.#write(config);
    this.#launch();
    const { address, port, clock } = this.#options;
    const deadline = clock.now() + startTimeoutMs;
    let hasEnded = false;
    void this.#child?.ended.then(() => {
      hasEnded = true;
    });
    while (!(await isOpen(address, port))) {
      if (hasEnded || clock.now() > deadline) {
        await this[Symbol.asyncDispose]();
        throw new UserError('unavailable', `NFS-Ganesha does not serve on ${address}:${port}:\n${this.#said.join('\n')}`);
      }
      await new Promise<void>((resolve) => clock.after(probeEveryMs, resolve));
    }
    this.#options.onEvent('nfs-ganesha serves', { pid: this.pid, address, port });
  }

  /** It reads its exports again; nodes that keep theirs notice nothing. */
  async reload(config: string): Promise<void> {
    await this.#write(config);
    if (this.pid !== undefined) {
      signalProcess(this.pid, 'SIGHUP');
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isStopped = true;
    this.#cancel();
    await this.#child?.stop();
  }

  async #write(config: string): Promise<void> {
    await writeFile(`${this.#config}.new`, config, { mode: 0o644 });
    await rename(`${this.#config}.new`, this.#config);
  }

  #launch(): void {
    const { directory, onLine } = this.#options;
    const args = ['-F', '-f', this.#config, '-p', join(directory, 'ganesha.pid'), '-L', 'STDERR'];
    const child = startChild(...mortalCommand('ganesha.nfsd', args), {
      graceMs,
      onLine: (line) => {
        this.#said.push(line);
        this.#said.splice(0, this.#said.length - keptLines);
        onLine(line);
      },
    });
    this.#child = child;
    void child.ended.then((outcome) => this.#restart(outcome));
  }

  #restart(outcome: object): void {
    if (this.#isStopped) {
      return;
    }
    const { clock, onEvent } = this.#options;
    const restart = nextRestart(this.#history, clock.now());
    this.#history = restart.history;
    onEvent('nfs-ganesha ended, starting it again', { ...outcome, delayMs: restart.delayMs });
    this.#cancel = clock.after(restart.delayMs, () => this.#launch());
  }
}

function isOpen(address: Ipv4, port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: address, port, timeout: 1000 });
    const end = (answer: boolean): void => {
      socket.destroy();
      resolve(answer);
    };
    socket.on('connect', () => end(true));
    socket.on('error', () => end(false));
    socket.on('timeout', () => end(false));
  });
}
