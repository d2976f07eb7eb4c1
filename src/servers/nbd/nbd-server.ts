/**
 * Keeps one nbd-server running. It forks for every connection, and a child outlives its parent: replacing a parent
 * that died, or that an earlier run of ours left behind, disturbs no node.
 */
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { dirname, join } from 'node:path';
import type { Clock } from '../../domain/clock.ts';
import { messageOf, UserError } from '../../domain/errors.ts';
import type { Ipv4 } from '../../domain/ipv4.ts';
import { nextRestart, type RestartHistory } from '../../policy/restart-policy.ts';
import { run } from '../../process/run.ts';
import { isAlive, signalProcess } from '../../process/signal.ts';
import {
  decodeGreeting,
  decodeOptionReply,
  encodeListRequest,
  greetingBytes,
  NbdOption,
  optionReplyBytes,
} from '../../protocol/nbd/handshake.ts';
import { renderNbdConfig } from './nbd-config.ts';

const probeTimeoutMs = 2000;
const startTimeoutMs = 15_000;
const watchEveryMs = 500;
const stopTimeoutMs = 10_000;

export interface NbdServerOptions {
  readonly address: Ipv4;
  readonly port: number;
  /** Absolute: nbd-server changes to / when it goes to the background. */
  readonly directory: string;
  readonly exports: string;
  readonly clock: Clock;
  /** nbd-server would go to the background and fail there, unheard. @throws UserError in-use */
  readonly assertPortFree: () => Promise<void>;
  readonly onEvent: (what: string, fields: Readonly<Record<string, unknown>>) => void;
}

export class NbdServer implements AsyncDisposable {
  readonly #options: NbdServerOptions;
  readonly #config: string;
  readonly #pidFile: string;
  #pid: number | undefined;
  #cancelWatch: () => void = () => {};
  #history: RestartHistory = { failures: [] };
  #stopped = false;

  constructor(options: NbdServerOptions) {
    this.#options = options;
    this.#config = join(options.directory, 'nbd-server.conf');
    this.#pidFile = join(options.directory, 'nbd-server.pid');
  }

  get pid(): number | undefined {
    return this.#pid;
  }

  /** Resolves when it answers a real handshake. @throws UserError */
  async start(): Promise<void> {
    const { exports, address, port } = this.#options;
    await mkdir(dirname(this.#config), { recursive: true });
    await Promise.all(['root', 'overlay', 'data'].map((name) => mkdir(join(exports, name), { recursive: true })));
    await writeFile(this.#config, renderNbdConfig({ address, port, exports }));
    await this.#launch();
    this.#watch();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopped = true;
    this.#cancelWatch();
    if (this.#pid === undefined) {
      return;
    }
    // Unlike SIGKILL, SIGTERM ends the children too: this is a stop, not a replacement.
    signalProcess(this.#pid, 'SIGTERM');
    await this.#until(() => !isAlive(this.#pid), stopTimeoutMs);
    if (isAlive(this.#pid)) {
      signalProcess(this.#pid, 'SIGKILL');
    }
    await rm(this.#pidFile, { force: true });
  }

  async #launch(): Promise<void> {
    await this.#endLeftover();
    await this.#options.assertPortFree();
    await rm(this.#pidFile, { force: true });
    await run('nbd-server', ['-C', this.#config, '-p', this.#pidFile]);
    // It goes to the background and reports success before its port works, or even when it never will.
    let problem = 'no answer';
    const { address, port } = this.#options;
    const serving = await this.#until(async () => {
      try {
        await probeNbd(address, port);
        return true;
      } catch (error) {
        problem = messageOf(error);
        return false;
      }
    }, startTimeoutMs);
    this.#pid = await this.#readPid();
    if (!serving || this.#pid === undefined) {
      throw new UserError('unavailable', `nbd-server does not serve on ${address}:${port}: ${problem}`, {
        hint: 'The system log has its messages',
      });
    }
    this.#options.onEvent('nbd-server serves', { pid: this.#pid, address, port });
  }

  #watch(): void {
    if (!this.#stopped) {
      this.#cancelWatch = this.#options.clock.after(watchEveryMs, () => this.#check());
    }
  }

  #check(): void {
    if (isAlive(this.#pid)) {
      this.#watch();
      return;
    }
    const restart = nextRestart(this.#history, this.#options.clock.now());
    this.#history = restart.history;
    this.#options.onEvent('nbd-server died, starting it again', { pid: this.#pid, delayMs: restart.delayMs });
    this.#cancelWatch = this.#options.clock.after(restart.delayMs, () => {
      this.#launch()
        .catch((error: unknown) => this.#options.onEvent('nbd-server did not start', { reason: messageOf(error) }))
        .finally(() => this.#watch());
    });
  }

  /** SIGKILL to the parent of an earlier run: its children go on serving their nodes. */
  async #endLeftover(): Promise<void> {
    const pid = await this.#readPid();
    if (pid === undefined || !isAlive(pid)) {
      return;
    }
    // The number may have been given to another process since.
    const commandLine = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    if (commandLine.includes(this.#config)) {
      signalProcess(pid, 'SIGKILL');
      await this.#until(() => !isAlive(pid), stopTimeoutMs);
    }
  }

  async #readPid(): Promise<number | undefined> {
    const text = await readFile(this.#pidFile, 'utf8').catch(() => '');
    return /^\d+\s*$/.test(text) ? Number(text) : undefined;
  }

  async #until(condition: () => boolean | Promise<boolean>, timeoutMs: number): Promise<boolean> {
    const { clock } = this.#options;
    const deadline = clock.now() + timeoutMs;
    while (!(await condition())) {
      if (clock.now() > deadline) {
        return false;
      }
      await new Promise<void>((resolve) => clock.after(50, resolve));
    }
    return true;
  }
}

/** A whole exchange, not just an open port. @throws when there is no NBD server */
async function probeNbd(address: Ipv4, port: number): Promise<void> {
  const socket = connect({ host: address, port, timeout: probeTimeoutMs });
  socket.on('timeout', () => socket.destroy(new Error('no answer in time')));
  try {
    let received = Buffer.alloc(0);
    let greeted = false;
    for await (const chunk of socket) {
      received = Buffer.concat([received, chunk as Buffer]);
      if (!greeted && received.length >= greetingBytes) {
        decodeGreeting(received);
        greeted = true;
        received = received.subarray(greetingBytes);
        socket.write(encodeListRequest());
      }
      if (greeted && received.length >= optionReplyBytes) {
        const { option } = decodeOptionReply(received);
        if (option !== NbdOption.List) {
          throw new Error(`the reply is to option ${option}`);
        }
        return;
      }
    }
    throw new Error('the connection was closed');
  } finally {
    socket.destroy();
  }
}
