/** What every simulated board has: who it is, its network, what it complains of, and how it reads files by TFTP. */
import type { Clock } from '../domain/clock.ts';
import { UserError } from '../domain/errors.ts';
import { anyAddress, type Ipv4 } from '../domain/ipv4.ts';
import type { Mac } from '../domain/mac.ts';
import type { Serial } from '../domain/serial.ts';
import type { BoardNetwork } from './board-network.ts';
import { type Fetched, type FetchOptions, fetchFile, type TftpTiming } from './tftp-client.ts';

export type SimEvent =
  | { readonly kind: 'discover'; readonly stage: string; readonly attempt: number }
  | { readonly kind: 'offer'; readonly stage: string; readonly address: Ipv4; readonly server: Ipv4 }
  | {
      readonly kind: 'file';
      readonly name: string;
      readonly result: 'found' | 'probed' | 'missing';
      readonly bytes: number;
      readonly ms: number;
    }
  | { readonly kind: 'restart'; readonly why: string };

export interface BoardOptions {
  readonly serial: Serial;
  readonly mac: Mac;
  readonly network: BoardNetwork;
  readonly random: () => number;
  /** Keep what the kernel would be started with. */
  readonly keep: boolean;
  /** TFTP_FILE_TIMEOUT of an EEPROM (eeprom-bootloader.adoc: 30 s). */
  readonly fileTimeoutMs?: number;
  readonly onEvent: (event: SimEvent) => void;
  /** Payload as it comes. */
  readonly onBytes?: (count: number) => void;
  readonly signal: AbortSignal;
}

/** Everything that the firmware hands to the kernel, byte for byte as it came. */
export interface KernelFiles {
  readonly kernel: Buffer;
  readonly deviceTree: Buffer;
  readonly overlays: ReadonlyMap<string, Buffer>;
  readonly initramfs: Buffer;
  /** cmdline.txt, then what the firmware adds. */
  readonly commandLine: string;
}

export interface Booted {
  readonly address: Ipv4;
  readonly server: Ipv4;
  /** Sizes of what the kernel would be started with. */
  readonly kernelBytes: number;
  readonly initramfsBytes: number;
  /** With `keep`. */
  readonly files?: KernelFiles;
}

/** Texts, and whatever is compared or parsed, are kept even when nothing else is. */
const keptNames = /\.txt$/;
/** Enough to see what goes wrong; a broken server says the same a thousand times. */
const maxViolations = 50;

export class Board {
  readonly options: BoardOptions;
  readonly clock: Clock;
  readonly network: BoardNetwork;
  readonly violations: string[] = [];
  address: Ipv4 = anyAddress;
  server: Ipv4 = anyAddress;
  /** Payload of all files, those read twice counted twice. */
  bytes = 0;
  restarts = 0;
  nextPort = 49_152;
  /** What each file was at its first read in this boot. */
  readonly #firstReads = new Map<string, { readonly size: number; readonly crc: number }>();

  constructor(options: BoardOptions) {
    this.options = options;
    this.network = options.network;
    this.clock = options.network.clock;
  }

  readonly complain = (text: string): void => {
    if (this.violations.length < maxViolations) {
      this.violations.push(text);
    }
  };

  checkPower(): void {
    if (this.options.signal.aborted) {
      throw new UserError('cancelled', 'The simulated board was switched off');
    }
  }

  wait(ms: number): Promise<void> {
    return new Promise((resolve) => this.clock.after(ms, resolve));
  }

  beginAgain(why: string): void {
    this.restarts += 1;
    this.#firstReads.clear();
    this.options.onEvent({ kind: 'restart', why });
  }

  async fetch(
    filename: string,
    how: Pick<FetchOptions, 'ask' | 'probe' | 'strictDuplicates' | 'strictOack' | 'noWrap'> & {
      readonly timing: TftpTiming;
      readonly keep?: boolean;
    },
  ): Promise<Fetched> {
    this.checkPower();
    const startedAt = this.clock.now();
    const result = await fetchFile(this.network, {
      ...how,
      filename,
      server: this.server,
      address: this.address,
      port: this.nextPort,
      keep: how.keep === true || this.options.keep || keptNames.test(filename),
      complain: this.complain,
      ...(this.options.onBytes ? { onBytes: this.options.onBytes } : {}),
    });
    this.nextPort = this.nextPort === 65_535 ? 49_152 : this.nextPort + 1;
    if (result.kind === 'found') {
      this.bytes += result.size;
      this.#checkSame(filename, result);
    }
    const bytes = result.kind === 'found' ? result.size : 0;
    this.options.onEvent({ kind: 'file', name: filename, result: result.kind, bytes, ms: this.clock.now() - startedAt });
    return result;
  }

  /** An image that is switched in the middle of a boot gives a kernel of one version and modules of another. */
  #checkSame(filename: string, read: { readonly size: number; readonly crc: number }): void {
    const name = filename.replaceAll(/\/+/g, '/');
    const first = this.#firstReads.get(name);
    if (!first) {
      this.#firstReads.set(name, { size: read.size, crc: read.crc });
    } else if (first.size !== read.size || first.crc !== read.crc) {
      this.complain(`${name.split('/').at(-1)} differed between two reads of one boot`);
    }
  }
}

/** What the board cannot do without. @throws UserError failed */
export function needed(result: Fetched, name: string): Extract<Fetched, { kind: 'found' }> {
  if (result.kind !== 'found') {
    const why = result.kind === 'missing' ? ` (${result.why})` : '';
    throw new UserError('failed', `The board needs ${name} and did not get it${why}`);
  }
  return result;
}
