/** The server's side of its data threads: which thread a transfer runs in, and the file's bytes held until its end. */
import { closeSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { MessageChannel, type MessagePort, Worker } from 'node:worker_threads';
import { ipv4ToNumber } from '../../domain/ipv4.ts';
import { addressOf, enlargeBuffers, WakeUp } from '../../net/datagram-batch.ts';
import type { DataPath, DataRequest, OpenTransfer } from './data-path.ts';
import type { Command, Ended } from './worker-messages.ts';

/** With fewer ACKs to each batch, more threads cost more than they bring; a core is left for the network's own work. */
const maxThreads = 4;
const portsPerThread = 4;

interface Thread {
  readonly worker: Worker;
  readonly port: MessagePort;
  readonly wakeUp: WakeUp;
  readonly exited: Promise<void>;
  transfers: number;
}

interface Held {
  readonly thread: Thread;
  /** Keeps the bytes where they are while the thread reads them. */
  readonly request: DataRequest;
}

export class DataThreads implements AsyncDisposable {
  readonly #threads: readonly Thread[];
  // BOUNDED: by the servers, which open no more than their limit.
  readonly #held = new Map<number, Held>();
  #nextId = 0;
  #nextGroup = 0;

  constructor(count: number = Math.max(1, Math.min(availableParallelism() - 1, maxThreads))) {
    this.#threads = Array.from({ length: count }, () => this.#startThread());
  }

  /** Transfers by ports of one interface. @param openDescriptor a socket on the address that is asked, any free port */
  path(openDescriptor: () => number): DataPath {
    this.#nextGroup += 1;
    const group = this.#nextGroup;
    // All are opened before any is given away: a failure leaves none behind.
    const fds = openAll(openDescriptor, portsPerThread * this.#threads.length);
    for (const [index, thread] of this.#threads.entries()) {
      this.#tell(thread, { kind: 'listen', group, fds: fds.slice(index * portsPerThread, (index + 1) * portsPerThread) });
    }
    return {
      open: (request) => this.#open(group, request),
      close: () => {
        for (const thread of this.#threads) {
          this.#tell(thread, { kind: 'forget', group });
        }
        return Promise.resolve();
      },
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      this.#threads.map(async (thread) => {
        this.#tell(thread, { kind: 'close' });
        await thread.exited;
        thread.wakeUp[Symbol.dispose]();
      }),
    );
  }

  #startThread(): Thread {
    const { port1, port2 } = new MessageChannel();
    const wakeUp = new WakeUp();
    const worker = new Worker(new URL('./data-worker.ts', import.meta.url), {
      workerData: { port: port2, wakeFd: wakeUp.fd },
      transferList: [port2],
      // Its sockets are opened here and closed there.
      trackUnmanagedFds: false,
    });
    // Without a data thread no board boots: what it throws ends the server, which is then started again.
    worker.on('error', (error) => {
      throw error;
    });
    const exited = new Promise<void>((resolve) => worker.once('exit', () => resolve()));
    const thread: Thread = { worker, port: port1, wakeUp, exited, transfers: 0 };
    port1.on('message', (ended: Ended) => this.#onEnd(ended));
    return thread;
  }

  #open(group: number, request: DataRequest): OpenTransfer {
    const thread = this.#threads.reduce((least, other) => (other.transfers < least.transfers ? other : least));
    this.#nextId += 1;
    const id = this.#nextId;
    const held: Held = { thread, request };
    this.#held.set(id, held);
    thread.transfers += 1;
    const { peer, bytes, asked, pace } = request;
    const where = { group, address: ipv4ToNumber(peer.address), port: peer.port, memory: addressOf(bytes), size: bytes.length };
    this.#tell(thread, { kind: 'open', id, ...where, asked, pace });
    return {
      again: () => this.#tell(thread, { kind: 'again', id }),
      stop: () => {
        this.#tell(thread, { kind: 'stop', id });
      },
    };
  }

  #onEnd({ id, outcome }: Ended): void {
    const held = this.#held.get(id);
    if (!held) {
      return;
    }
    this.#held.delete(id);
    held.thread.transfers -= 1;
    if (outcome) {
      held.request.onEnd(outcome);
    }
  }

  #tell(thread: Thread, command: Command): void {
    thread.port.postMessage(command);
    thread.wakeUp.ring();
  }
}

function openAll(openDescriptor: () => number, wanted: number): number[] {
  const fds: number[] = [];
  try {
    while (fds.length < wanted) {
      const fd = openDescriptor();
      fds.push(fd);
      enlargeBuffers(fd);
    }
    return fds;
  } catch (error) {
    for (const fd of fds) {
      closeSync(fd);
    }
    throw error;
  }
}
