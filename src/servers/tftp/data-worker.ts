/**
 * A thread that does nothing but move blocks: it owns its sockets, waits in poll(2) and answers a whole batch of ACKs with
 * two system calls. Node's event loop never runs here, so nothing else can delay a block.
 */
import { closeSync } from 'node:fs';
import { type MessagePort, receiveMessageOnPort, workerData } from 'node:worker_threads';
import { DatagramBatch } from '../../net/datagram-batch.ts';
import {
  acknowledge,
  blockLength,
  blockStart,
  expire,
  markSent,
  openTransfer,
  requestAgain,
  stoppedBy,
  type Transfer,
  type TransferOutcome,
} from '../../policy/tftp-transfer.ts';
import { encodeTftp, Opcode, TftpErrorCode } from '../../protocol/tftp/packet.ts';
import { readPacket } from './read-packet.ts';
import type { Command, Ended } from './worker-messages.ts';

const tickMs = 5;
/**
 * How long a thread looks for the next ACK before it sleeps. To sleep and be woken takes 20 to 50 microseconds, on a virtual
 * machine of the client's time too, so it pays where answers come sooner than that: the last sleep tells.
 */
const awakeMs = 0.05;
/** A look in vain: perhaps who would answer waits for this very processor. Then sleep is the quicker way for a while. */
const asleepMs = 20;
/** Of one turn, so that a flood of requests does not hold up the transfers. */
const maxCommands = 64;
const endedKept = 256;
/** A client sends ACK and ERROR only. 44 blocks of 1472 bytes with their heads are the largest message. */
const batchSizes = { receiveBytes: 256, sendBytes: 512, segments: 44 };
const unknownTransfer = encodeTftp({ kind: 'error', code: TftpErrorCode.UnknownTransferId, message: 'Unknown transfer ID' });
const illegal = encodeTftp({ kind: 'error', code: TftpErrorCode.IllegalOperation, message: 'Illegal TFTP operation' });

interface Line {
  readonly group: number;
  readonly fd: number;
  // BOUNDED: by the server, which opens no more than its limit.
  readonly byPeer: Map<number, Entry>;
  /** Peers that were done lately: a copy of their last ACK is no stranger's packet. BOUNDED: `endedKept`. */
  readonly ended: Set<number>;
}

interface Entry {
  readonly id: number;
  readonly line: Line;
  readonly peer: number;
  readonly address: number;
  readonly port: number;
  readonly memory: number;
  readonly transfer: Transfer;
}

class DataThread {
  readonly #port: MessagePort;
  readonly #wakeFd: number;
  readonly #batch = new DatagramBatch(batchSizes);
  readonly #entries = new Map<number, Entry>();
  #lines: Line[] = [];
  #nextLine = 0;
  #isClosing = false;
  /** More of them may wait than were obeyed in this turn. */
  #hasCommands = false;
  #lastSleepMs = Number.POSITIVE_INFINITY;
  #sleepsUntilMs = 0;

  constructor(port: MessagePort, wakeFd: number) {
    this.#port = port;
    this.#wakeFd = wakeFd;
    this.#watch();
  }

  run(): void {
    let nextTick = performance.now() + tickMs;
    while (!this.#isClosing) {
      const now = this.#wait();
      for (let index = 0; index < this.#lines.length; index += 1) {
        const line = this.#lines[index];
        if (line && this.#batch.isReady(index + 1)) {
          this.#hear(line, now);
        }
      }
      // After the ACKs that were waiting, because these may change the set of descriptors.
      if (this.#hasCommands || this.#batch.isReady(0)) {
        this.#batch.quiet(this.#wakeFd);
        this.#obey(now);
      }
      if (now >= nextTick) {
        nextTick = now + tickMs;
        this.#expireAll(now);
      }
    }
    for (const line of this.#lines) {
      closeSync(line.fd);
    }
    this.#port.close();
  }

  /** @returns the time at which there is something to do */
  #wait(): number {
    const batch = this.#batch;
    if (this.#hasCommands) {
      batch.wait(0);
      return performance.now();
    }
    const from = performance.now();
    let now = from;
    if (this.#entries.size > 0 && this.#lastSleepMs < awakeMs && now >= this.#sleepsUntilMs) {
      do {
        if (batch.wait(0)) {
          return now;
        }
        now = performance.now();
      } while (now < from + awakeMs);
      this.#sleepsUntilMs = now + asleepMs;
    }
    batch.wait(this.#entries.size > 0 ? tickMs : -1);
    const woken = performance.now();
    this.#lastSleepMs = woken - now;
    return woken;
  }

  #obey(now: number): void {
    this.#hasCommands = true;
    for (let count = 0; count < maxCommands; count += 1) {
      const message = receiveMessageOnPort(this.#port);
      if (!message) {
        this.#hasCommands = false;
        return;
      }
      const command: Command = message.message;
      switch (command.kind) {
        case 'listen':
          this.#lines.push(...command.fds.map((fd) => ({ group: command.group, fd, byPeer: new Map(), ended: new Set<number>() })));
          this.#watch();
          break;
        case 'forget':
          this.#forget(command.group);
          break;
        case 'open':
          this.#open(command, now);
          break;
        case 'again':
          this.#again(command.id, now);
          break;
        case 'stop':
          this.#stop(command.id);
          break;
        case 'close':
          this.#isClosing = true;
          break;
        default:
          command satisfies never;
      }
    }
  }

  #watch(): void {
    this.#batch.watch([this.#wakeFd, ...this.#lines.map((line) => line.fd)]);
  }

  #forget(group: number): void {
    const [gone, kept] = [this.#lines.filter((line) => line.group === group), this.#lines.filter((line) => line.group !== group)];
    for (const line of gone) {
      for (const entry of [...line.byPeer.values()]) {
        this.#stop(entry.id);
      }
      closeSync(line.fd);
    }
    this.#lines = kept;
    this.#watch();
  }

  /** Ports are used in turn, so that a client that asks again soon finds another one (RFC 1350 section 4). */
  #open(command: Extract<Command, { kind: 'open' }>, now: number): void {
    const { id, address, port, memory, size, asked, pace } = command;
    const lines = this.#lines.filter((line) => line.group === command.group);
    this.#nextLine += 1;
    const line = lines[this.#nextLine % lines.length];
    if (!line) {
      this.#port.postMessage({ id } satisfies Ended);
      return;
    }
    const peer = address * 65_536 + port;
    const entry: Entry = { id, line, peer, address, port, memory, transfer: openTransfer({ size, asked, pace, nowMs: now }) };
    this.#entries.set(id, entry);
    line.byPeer.set(peer, entry);
    this.#queueWindow(entry, now);
    this.#batch.flush(line.fd);
  }

  #again(id: number, now: number): void {
    const entry = this.#entries.get(id);
    const what = entry ? requestAgain(entry.transfer, now) : 'wait';
    if (entry && what === 'send') {
      this.#queueWindow(entry, now);
      this.#batch.flush(entry.line.fd);
    } else if (entry && what === 'restart') {
      this.#end(entry, { kind: 'restarted' });
    }
  }

  #stop(id: number): void {
    const entry = this.#entries.get(id);
    if (entry) {
      this.#end(entry);
    }
  }

  #hear(line: Line, now: number): void {
    const batch = this.#batch;
    const count = batch.receive(line.fd);
    for (let slot = 0; slot < count; slot += 1) {
      const peer = batch.peerAddress(slot) * 65_536 + batch.peerPort(slot);
      const entry = line.byPeer.get(peer);
      const word = batch.length(slot) >= 4 ? batch.firstWord(slot) : 0;
      const opcode = word >>> 16;
      if (!entry) {
        this.#stranger(line, peer, opcode);
      } else if (opcode === Opcode.Ack) {
        this.#acknowledge(entry, word & 0xffff, now);
      } else if (opcode !== 0) {
        const at = batch.offset(slot);
        this.#other(entry, batch.received.subarray(at, at + batch.length(slot)));
      }
    }
    batch.flush(line.fd);
  }

  #acknowledge(entry: Entry, block: number, now: number): void {
    const what = acknowledge(entry.transfer, block, now);
    if (what === 'send') {
      this.#queueWindow(entry, now);
    } else if (what === 'done') {
      this.#end(entry, { kind: 'sent', bytes: entry.transfer.size });
    }
  }

  /** An ERROR, or what no reader sends. */
  #other(entry: Entry, data: Buffer): void {
    const packet = readPacket(data, () => {});
    if (packet?.kind === 'error') {
      this.#end(entry, stoppedBy(entry.transfer, packet.code, packet.message));
    } else if (packet && packet.kind !== 'rrq') {
      // A copy of the request may go astray; anything else no reader sends.
      this.#batch.queueBytes(entry.line.fd, entry, illegal);
      this.#end(entry, stoppedBy(entry.transfer, TftpErrorCode.IllegalOperation, `client sent ${packet.kind}`));
    }
  }

  /** Told that this is no transfer of its own (RFC 1350 section 4); an ERROR is never answered, nobody at port 0 either. */
  #stranger(line: Line, peer: number, opcode: number): void {
    const isAnswerable = opcode !== 0 && opcode !== Opcode.Error && peer % 65_536 !== 0;
    if (isAnswerable && !line.ended.has(peer)) {
      this.#batch.queueBytes(line.fd, { address: Math.floor(peer / 65_536), port: peer % 65_536 }, unknownTransfer);
    }
  }

  #expireAll(now: number): void {
    for (const entry of this.#entries.values()) {
      if (now < entry.transfer.dueAtMs) {
        continue;
      }
      if (expire(entry.transfer, now) === 'send') {
        this.#queueWindow(entry, now);
        this.#batch.flush(entry.line.fd);
      } else {
        this.#end(entry, { kind: 'timed-out', block: entry.transfer.acked + 1 });
      }
    }
  }

  #queueWindow(entry: Entry, now: number): void {
    const { transfer, line, memory } = entry;
    markSent(transfer, now);
    if (transfer.acked < 0) {
      this.#batch.queueBytes(line.fd, entry, encodeTftp({ kind: 'oack', options: transfer.options }));
      return;
    }
    const { blockBytes, sent } = transfer;
    for (let first = transfer.acked + 1; first <= sent; ) {
      const count = Math.min(sent - first + 1, this.#batch.maxBlocks(entry.address));
      const lastBytes = blockLength(transfer, first + count - 1);
      this.#batch.queue(line.fd, entry, {
        opcode: Opcode.Data,
        first,
        count,
        memory: memory + blockStart(transfer, first),
        blockBytes,
        lastBytes,
      });
      first += count;
    }
  }

  #end(entry: Entry, outcome?: TransferOutcome): void {
    const { line, peer, id } = entry;
    this.#entries.delete(id);
    line.byPeer.delete(peer);
    line.ended.add(peer);
    for (const oldest of line.ended) {
      if (line.ended.size <= endedKept) {
        break;
      }
      line.ended.delete(oldest);
    }
    // What is queued may be in the file's memory, which the server may let go from here on.
    this.#batch.flush(line.fd);
    this.#port.postMessage({ id, ...(outcome ? { outcome } : {}) } satisfies Ended);
  }
}

const { port, wakeFd }: { port: MessagePort; wakeFd: number } = workerData;
new DataThread(port, wakeFd).run();
