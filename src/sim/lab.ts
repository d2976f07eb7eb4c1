/** A network of its own on this machine: one name space with a bridge, to which servers and boards are plugged. */
import { UserError } from '../domain/errors.ts';
import type { Ipv4, Subnet } from '../domain/ipv4.ts';
import type { Mac } from '../domain/mac.ts';
import { run } from '../process/run.ts';
import { isAlive, signalProcess } from '../process/signal.ts';

export interface LabOptions {
  /** Short: interface names are made of it. */
  readonly name: string;
  /** The bridge's own address; a server in the lab has it. */
  readonly address: Ipv4;
  readonly subnet: Subnet;
}

export const labBridge = 'br0';

/** Everything is called cardless-PID-...: what a process left behind that is gone can be told and removed. */
const namePattern = /^cardless-(\d+)-/;

export class Lab implements AsyncDisposable {
  readonly #options: LabOptions;
  readonly #boards = new Set<string>();
  #ports = 0;

  private constructor(options: LabOptions) {
    this.#options = options;
  }

  static async create(options: LabOptions): Promise<Lab> {
    await removeLeftovers();
    const lab = new Lab(options);
    try {
      await run('ip', ['netns', 'add', lab.namespace]);
      await lab.#ip('link', 'set', 'lo', 'up');
      await lab.#ip('link', 'add', labBridge, 'type', 'bridge', 'forward_delay', '0');
      await lab.#ip('address', 'add', `${options.address}/${options.subnet.prefix}`, 'dev', labBridge);
      await lab.#ip('link', 'set', labBridge, 'up');
      return lab;
    } catch (error) {
      await lab[Symbol.asyncDispose]();
      throw new UserError('failed', 'A network name space with a bridge could not be made', {
        cause: error,
        hint: 'It takes root and a kernel with network name spaces, bridge, veth and tun',
      });
    }
  }

  get namespace(): string {
    return `cardless-${process.pid}-${this.#options.name}`;
  }

  /** A command line that runs inside the lab. */
  inside(file: string, args: readonly string[]): readonly [string, readonly string[]] {
    return insideNamespace(this.namespace, file, args);
  }

  /** A port for a virtual machine: the name of a tap device inside the lab. */
  async addTap(): Promise<string> {
    const tap = this.#newPort('tap');
    await this.#ip('tuntap', 'add', tap, 'mode', 'tap');
    await this.#ip('link', 'set', tap, 'master', labBridge, 'up');
    return tap;
  }

  /** A port for a program that plays a board: a name space of its own, whose `eth0` has this MAC. */
  async addBoard(mac: Mac): Promise<string> {
    const port = this.#newPort('sim');
    const namespace = `cardless-${process.pid}-${this.#options.name}-${port}`;
    await run('ip', ['netns', 'add', namespace]);
    this.#boards.add(namespace);
    await this.#ip('link', 'add', port, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', namespace);
    // Simulated boards see frames, which on a real wire are never larger than the link's MTU.
    await this.#ip('link', 'set', port, 'master', labBridge, 'gso_max_segs', '1', 'up');
    await run('ip', ['-n', namespace, 'link', 'set', 'eth0', 'address', mac]);
    await run('ip', ['-n', namespace, 'link', 'set', 'lo', 'up']);
    await run('ip', ['-n', namespace, 'link', 'set', 'eth0', 'up']);
    return namespace;
  }

  async removeBoard(namespace: string): Promise<void> {
    this.#boards.delete(namespace);
    await removeNamespace(namespace);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const board of this.#boards) {
      await this.removeBoard(board);
    }
    await removeNamespace(this.namespace);
  }

  #newPort(kind: string): string {
    this.#ports += 1;
    return `${kind}${this.#ports}`;
  }

  async #ip(...args: string[]): Promise<void> {
    await run('ip', ['-n', this.namespace, ...args]);
  }
}

export function insideNamespace(namespace: string, file: string, args: readonly string[]): readonly [string, readonly string[]] {
  return ['ip', ['netns', 'exec', namespace, file, ...args]];
}

/** Ends whatever still runs in it, which we or our children started, and takes it down. */
export async function removeNamespace(namespace: string): Promise<void> {
  const pids = await run('ip', ['netns', 'pids', namespace]).catch(() => '');
  for (const pid of pids.split('\n').filter((line) => line !== '')) {
    signalProcess(Number(pid), 'SIGKILL');
  }
  await run('ip', ['netns', 'delete', namespace]).catch(() => '');
}

/** Those of processes that are gone. */
export async function removeLeftovers(): Promise<void> {
  const names = (await run('ip', ['netns', 'list'])).split('\n').map((line) => line.split(' ')[0] ?? '');
  for (const name of names) {
    const pid = namePattern.exec(name)?.[1];
    if (pid !== undefined && !isAlive(Number(pid))) {
      await removeNamespace(name);
    }
  }
}
