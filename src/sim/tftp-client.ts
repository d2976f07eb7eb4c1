/** TFTP as boot firmware speaks it: one block or window under way, and easily upset. */
import { crc32 } from 'node:zlib';
import type { Clock } from '../domain/clock.ts';
import type { Ipv4 } from '../domain/ipv4.ts';
import type { BoardNetwork, Peer, UdpPort } from './board-network.ts';
import {
  ack,
  badOptions,
  errorPacket,
  readRequest,
  readTftpAnswer,
  type TftpAnswer,
  type TftpError,
  type TftpOption,
} from './tftp-wire.ts';

const defaultBlockBytes = 512;
const blockNumbers = 65_536;
/** A second copy of a packet within this time hangs real firmware; the server may repeat only later than this. */
const duplicateWindowMs = 900;
/** "File not found" later than this after the request costs a boot seconds, for some forty files are probed. */
const lateErrorMs = 1000;

export interface TftpTiming {
  /** The request is sent again after this silence, from the same port. */
  readonly requestEveryMs?: number;
  /** The last ACK too. Pi firmware leaves that to the server. */
  readonly ackEveryMs?: number;
  /** No packet for so long: the file counts as absent (raspberrypi/firmware#1292). */
  readonly silenceMs: number;
  /** The whole file. */
  readonly fileMs?: number;
}

export type Fetched =
  | { readonly kind: 'found'; readonly size: number; readonly crc: number; readonly bytes?: Buffer }
  | { readonly kind: 'probed'; readonly size: number | undefined }
  | { readonly kind: 'missing'; readonly why: string };

export interface FetchOptions {
  readonly server: Ipv4;
  readonly address: Ipv4;
  readonly port: number;
  readonly filename: string;
  readonly ask: readonly TftpOption[];
  /** Stops after the first answer with this error. */
  readonly probe?: TftpError;
  readonly timing: TftpTiming;
  /** An OACK with more than was asked ends the transfer (tianocore/edk2, Mtftp4Option.c); others go on. */
  readonly strictOack?: boolean;
  /** A duplicate within a second upsets it. */
  readonly strictDuplicates: boolean;
  /** Block numbers do not roll over: what is longer is cut at 65535 blocks without a word. */
  readonly noWrap: boolean;
  /** Keep the content, not only size and check sum. */
  readonly keep: boolean;
  readonly onBytes?: (count: number) => void;
  /** What real firmware would have choked on. */
  readonly complain: (text: string) => void;
}

export async function fetchFile(network: BoardNetwork, options: FetchOptions): Promise<Fetched> {
  return await new Fetch(network, options).done;
}

class Fetch {
  readonly done: Promise<Fetched>;
  readonly #options: FetchOptions;
  readonly #clock: Clock;
  readonly #end: (result: Fetched) => void;
  readonly #endpoint: UdpPort;
  readonly #startedAt: number;
  readonly #chunks: Buffer[] = [];
  #size = 0;
  #crc = 0;
  #blockBytes = defaultBlockBytes;
  #window = 1;
  /** Blocks in order so far. */
  #blocks = 0;
  #sinceAck = 0;
  #transferPort: number | undefined;
  #lastSent: Buffer;
  #lastSentAt: number;
  #lastHeardAt: number;
  #lastBlock = -1;
  #lastBlockAt = 0;
  #isOver = false;
  /** The network made two of our request: both may be answered. */
  #isRequestDoubled = false;
  #cancelTimer: () => void = () => {};

  constructor(network: BoardNetwork, options: FetchOptions) {
    this.#options = options;
    this.#clock = network.clock;
    const { promise, resolve } = Promise.withResolvers<Fetched>();
    this.done = promise;
    this.#end = resolve;
    this.#startedAt = this.#clock.now();
    this.#lastSentAt = this.#startedAt;
    this.#lastHeardAt = this.#startedAt;
    this.#endpoint = network.openUdp(options.address, options.port, (data, peer, isCopy) => this.#receive(data, peer, isCopy === true));
    this.#lastSent = readRequest(options.filename, options.ask);
    this.#sendLast();
    this.#watch();
  }

  // ---- time: one timer for a transfer, not one for each packet ----

  get #resendAfter(): number | undefined {
    const { timing } = this.#options;
    return this.#transferPort === undefined ? timing.requestEveryMs : timing.ackEveryMs;
  }

  #watch(): void {
    const { timing } = this.#options;
    const resendAfter = this.#resendAfter;
    const deadlines = [
      this.#lastHeardAt + timing.silenceMs,
      ...(timing.fileMs === undefined ? [] : [this.#startedAt + timing.fileMs]),
      ...(resendAfter === undefined ? [] : [this.#lastSentAt + resendAfter]),
    ];
    const wait = Math.max(1, Math.min(...deadlines) - this.#clock.now());
    this.#cancelTimer = this.#clock.after(wait, () => this.#onTimer());
  }

  #onTimer(): void {
    const resendAfter = this.#resendAfter;
    const now = this.#clock.now();
    const { timing } = this.#options;
    if (timing.fileMs !== undefined && now - this.#startedAt >= timing.fileMs) {
      this.#finish({ kind: 'missing', why: `not complete within ${timing.fileMs / 1000} s, ${this.#size} bytes so far` });
      return;
    }
    if (now - this.#lastHeardAt >= timing.silenceMs) {
      this.#finish({ kind: 'missing', why: `no answer within ${timing.silenceMs / 1000} s` });
      return;
    }
    if (resendAfter !== undefined && now - this.#lastSentAt >= resendAfter) {
      this.#sendLast();
    }
    this.#watch();
  }

  #sendLast(): void {
    this.#lastSentAt = this.#clock.now();
    const copies = this.#endpoint.send(this.#lastSent, { address: this.#options.server, port: this.#transferPort ?? 69 });
    this.#isRequestDoubled ||= copies > 1 && this.#transferPort === undefined;
  }

  #send(packet: Buffer): void {
    this.#lastSent = packet;
    this.#sendLast();
  }

  /** The port stays open a moment: what still comes was sent twice or after the end. */
  #finish(result: Fetched): void {
    if (this.#isOver) {
      return;
    }
    this.#isOver = true;
    this.#cancelTimer();
    if (result.kind === 'missing' || !this.#options.strictDuplicates) {
      void this.#endpoint.close();
    } else {
      this.#clock.after(duplicateWindowMs, () => void this.#endpoint.close());
    }
    this.#end(result);
  }

  // ---- packets ----

  #receive(data: Buffer, peer: Peer, isCopy: boolean): void {
    const { server, filename, complain } = this.#options;
    if (peer.address !== server || (this.#transferPort !== undefined && peer.port !== this.#transferPort)) {
      if (!isCopy && !this.#isRequestDoubled) {
        complain(`${filename}: a packet came from ${peer.address}:${peer.port}`);
      }
      return;
    }
    const answer = readTftpAnswer(data);
    if (this.#isOver) {
      this.#afterEnd(answer, isCopy);
      return;
    }
    this.#transferPort = peer.port;
    this.#lastHeardAt = this.#clock.now();
    switch (answer.kind) {
      case 'error':
        this.#onError(answer.code, answer.message);
        return;
      case 'oack':
        this.#onOack(answer.options, isCopy);
        return;
      case 'data':
        this.#onData(answer.block, answer.data, isCopy);
        return;
      default:
        complain(`${filename}: a packet that is neither OACK, DATA nor ERROR`);
    }
  }

  #afterEnd(answer: TftpAnswer, isCopy: boolean): void {
    if (answer.kind === 'error' || isCopy || this.#isRequestDoubled) {
      return;
    }
    const { filename, probe, complain, strictDuplicates } = this.#options;
    if (strictDuplicates) {
      complain(
        `${filename}: ${answer.kind === 'data' ? `DATA ${answer.block}` : answer.kind} after the ${probe ? 'client stopped' : 'end'}`,
      );
    }
  }

  #onError(code: number, message: string): void {
    const ms = this.#clock.now() - this.#lastSentAt;
    if (ms > lateErrorMs) {
      this.#options.complain(`${this.#options.filename}: ERROR ${code} came ${ms} ms after the request`);
    }
    this.#finish({ kind: 'missing', why: `error ${code} ${message}` });
  }

  #onOack(given: ReadonlyMap<string, string>, isCopy: boolean): void {
    const { filename, ask, complain, probe } = this.#options;
    if (this.#noteDuplicate(0, isCopy)) {
      this.#send(ack(0));
      return;
    }
    const faults = oackFaults(given, ask);
    for (const fault of faults) {
      complain(`${filename}: ${fault}`);
    }
    if (this.#options.strictOack === true && faults.length > 0) {
      this.#endpoint.send(errorPacket(badOptions), { address: this.#options.server, port: this.#transferPort ?? 69 });
      this.#finish({ kind: 'missing', why: faults.join(', ') });
      return;
    }
    const size = given.has('tsize') ? Number(given.get('tsize')) : undefined;
    if (probe) {
      this.#endpoint.send(errorPacket(probe), { address: this.#options.server, port: this.#transferPort ?? 69 });
      this.#finish({ kind: 'probed', size });
      return;
    }
    this.#blockBytes = Number(given.get('blksize') ?? defaultBlockBytes);
    this.#window = Number(given.get('windowsize') ?? 1);
    this.#send(ack(0));
  }

  #onData(block: number, data: Buffer, isCopy: boolean): void {
    const { filename, complain, probe } = this.#options;
    if (probe) {
      this.#endpoint.send(errorPacket(probe), { address: this.#options.server, port: this.#transferPort ?? 69 });
      this.#finish({ kind: 'probed', size: undefined });
      return;
    }
    const expected = (this.#blocks + 1) % blockNumbers;
    if (block !== expected) {
      this.#onUnexpected(block, isCopy);
      return;
    }
    this.#noteDuplicate(block, isCopy);
    if (data.length > this.#blockBytes) {
      complain(`${filename}: a block of ${data.length} bytes, agreed were ${this.#blockBytes}`);
    }
    this.#take(data);
    const isLast = data.length < this.#blockBytes;
    const isCut = this.#options.noWrap && this.#blocks === blockNumbers - 1 && !isLast;
    this.#sinceAck += 1;
    if (isLast || isCut || this.#sinceAck >= this.#window) {
      this.#acknowledge();
    }
    if (isCut) {
      complain(`${filename}: cut at ${this.#size} bytes, for this boot loader's block numbers do not roll over`);
    }
    if (isLast || isCut) {
      this.#finish(this.#found());
    }
  }

  #take(data: Buffer): void {
    this.#blocks += 1;
    this.#size += data.length;
    this.#crc = crc32(data, this.#crc);
    this.#options.onBytes?.(data.length);
    if (this.#options.keep) {
      this.#chunks.push(Buffer.from(data));
    }
  }

  #found(): Fetched {
    return { kind: 'found', size: this.#size, crc: this.#crc, ...(this.#options.keep ? { bytes: Buffer.concat(this.#chunks) } : {}) };
  }

  #acknowledge(): void {
    this.#sinceAck = 0;
    this.#send(ack(this.#blocks));
  }

  /** Either one that was had before, or one behind a gap, which a window can have (RFC 7440 section 4). */
  #onUnexpected(block: number, isCopy: boolean): void {
    const ahead = (block - this.#blocks + blockNumbers) % blockNumbers;
    if (this.#window === 1 && block === this.#blocks % blockNumbers) {
      this.#noteDuplicate(block, isCopy);
      this.#acknowledge();
      return;
    }
    if (this.#window > 1) {
      // Once for a gap, or every further block of the window would set off the window again.
      if (ahead === 2 || ahead > blockNumbers / 2) {
        this.#acknowledge();
      }
      return;
    }
    if (!isCopy && ahead < blockNumbers / 2) {
      this.#options.complain(`${this.#options.filename}: block ${block} in place of ${this.#blocks + 1}`);
    }
  }

  #noteDuplicate(block: number, isCopy: boolean): boolean {
    const now = this.#clock.now();
    const isDuplicate = block === this.#lastBlock;
    const isSoon = now - this.#lastBlockAt < duplicateWindowMs;
    const isBlamed = !isCopy && !this.#isRequestDoubled && this.#options.strictDuplicates;
    if (isDuplicate && isSoon && isBlamed) {
      this.#options.complain(
        `${this.#options.filename}: ${block === 0 ? 'the OACK' : `block ${block}`} came twice within ${now - this.#lastBlockAt} ms`,
      );
    }
    if (!isCopy) {
      this.#lastBlock = block;
      this.#lastBlockAt = now;
    }
    return isDuplicate;
  }
}

/** RFC 2347: only what was asked is answered; RFC 2348 and 7440: never with more. */
function oackFaults(given: ReadonlyMap<string, string>, ask: readonly TftpOption[]): string[] {
  const asked = new Map(ask.map(([name, value]) => [name.toLowerCase(), Number(value)]));
  return [...given].flatMap(([name, value]) => {
    const limit = asked.get(name);
    if (limit === undefined) {
      return [`the OACK has an option that was not asked, ${name}`];
    }
    return name !== 'tsize' && Number(value) > limit ? [`the OACK's ${name} is ${value}, asked was ${limit}`] : [];
  });
}
