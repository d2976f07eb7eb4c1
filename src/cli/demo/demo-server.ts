/** The real server, in the lab, as a process of its own. */
import { appendFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { findPlaces, type Places, projectRoot } from '../../config/places.ts';
import { messageOf, UserError } from '../../domain/errors.ts';
import { run } from '../../process/run.ts';
import { type Child, startChild } from '../../process/supervise.ts';
import { type Lab, labBridge } from '../../sim/lab.ts';
import { type AdminClient, adminClient, untilAnswers } from '../admin-client.ts';
import { NodeView } from '../node/node-view.ts';

/** nbd-server's own grace is part of it. */
const stopGraceMs = 20_000;
/** A guest that is short of processor time may need this long to answer a connection. */
const connectSeconds = 60;
const sshAttempts = 3;
const sshRetryMs = 2000;
/** What ssh itself exits with; a command's own code is another. */
const sshFailed = 'exit code 255';

export interface DemoServerOptions {
  readonly lab: Lab;
  readonly state: string;
  readonly env: NodeJS.ProcessEnv;
  /** Further flags of `cardless up`. */
  readonly flags: readonly string[];
}

export class DemoServer implements AsyncDisposable {
  readonly client: AdminClient;
  readonly places: Places;
  readonly #options: DemoServerOptions;
  #child: Child | undefined;

  constructor(options: DemoServerOptions) {
    this.#options = options;
    this.places = findPlaces({ state: options.state, env: options.env });
    this.client = adminClient(this.places.adminSocket);
  }

  get keyFile(): string {
    return join(this.places.state, 'operator');
  }

  get logFile(): string {
    return join(this.places.state, 'server.log');
  }

  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Resolves when it answers. @throws UserError with the server's last words */
  async start(checkout: string = projectRoot): Promise<void> {
    await mkdir(this.places.state, { recursive: true });
    await this.#makeKey();
    const flags = ['--interface', labBridge, '--authorized-keys', `${this.keyFile}.pub`, '--log-level', 'debug', ...this.#options.flags];
    const main = join(checkout, 'src/main.ts');
    const [file, args] = this.#options.lab.inside(process.execPath, [main, '--state', this.places.state, 'up', ...flags]);
    const said: string[] = [];
    const onLine = (line: string): void => {
      said.push(line);
      said.splice(0, said.length - 20);
      void appendFile(this.logFile, `${line}\n`);
    };
    // The downloads that this checkout has: inside the lab there is no network to repeat them.
    const env = { CARDLESS_CACHE: findPlaces({ env: this.#options.env }).cache };
    this.#child = startChild(file, args, { graceMs: stopGraceMs, env, onLine });
    await untilAnswers(this.client, this.#child, said);
  }

  async node(name: string): Promise<NodeView> {
    const [node] = z.array(NodeView).parse(await this.client.call('GET', `/nodes/${name}`));
    if (!node) {
      throw new UserError('not-found', `There is no node "${name}"`);
    }
    return node;
  }

  /**
   * A shell command on a node, as root, with the operator's key and the host key that the server keeps for the node.
   * Tried again where the connection fails, so the command must be one that may run twice.
   */
  async ssh(name: string, command: string, signal: AbortSignal): Promise<string> {
    for (let attempt = 1; ; attempt++) {
      try {
        return await this.sshOnce(name, command, signal);
      } catch (error) {
        if (attempt === sshAttempts || !messageOf(error).includes(sshFailed)) {
          throw error;
        }
        await appendFile(this.logFile, `ssh to ${name}, attempt ${attempt}: ${messageOf(error)}\n`);
        await sleep(sshRetryMs, undefined, { signal });
      }
    }
  }

  async sshOnce(name: string, command: string, signal: AbortSignal): Promise<string> {
    const node = await this.node(name);
    if (node.address === undefined || node.hostKey === undefined) {
      throw new UserError('unavailable', `${name} has no address or host key yet`);
    }
    const knownHosts = join(this.places.state, `known_hosts-${name}`);
    await writeFile(knownHosts, `${node.address} ${node.hostKey}\n`);
    const options = [
      'BatchMode=yes',
      'StrictHostKeyChecking=yes',
      `UserKnownHostsFile=${knownHosts}`,
      `ConnectTimeout=${connectSeconds}`,
      'ServerAliveInterval=15',
      'ServerAliveCountMax=8',
    ];
    const args = ['-i', this.keyFile, ...options.flatMap((option) => ['-o', option]), `root@${node.address}`, command];
    return await run(...this.#options.lab.inside('ssh', args), { signal });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async stop(): Promise<void> {
    await this.#child?.stop();
  }

  /** kill -9, as a crash would. */
  async crash(): Promise<void> {
    if (this.#child?.pid !== undefined) {
      process.kill(this.#child.pid, 'SIGKILL');
      await this.#child.ended;
    }
  }

  async #makeKey(): Promise<void> {
    await run('test', ['-e', this.keyFile]).catch(() =>
      run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'operator', '-f', this.keyFile]),
    );
  }
}
