/** What the flags of `cardless sim` say. */
import { UserError } from '../../domain/errors.ts';
import { parseImageRef } from '../../domain/image-ref.ts';
import { parseMac } from '../../domain/mac.ts';
import { parseSerial } from '../../domain/serial.ts';
import type { Faults } from '../../sim/faults.ts';
import { boardIdentities, type Identity } from '../../sim/identities.ts';
import { findModel, isPiModel, type Model } from '../../sim/models.ts';

export interface SimFlags {
  readonly model: string;
  readonly count: string;
  readonly interface?: string;
  readonly lab?: boolean;
  readonly mode?: string;
  readonly image?: string;
  readonly bootBytes?: string;
  readonly serial?: string;
  readonly firstSerial?: string;
  readonly mac?: string;
  readonly register?: boolean;
  readonly out?: string;
  readonly replay?: string;
  readonly qemu?: boolean;
  readonly loss: string;
  readonly dup: string;
  readonly reorder: string;
  readonly latency: string;
  readonly bandwidth?: string;
  readonly seed: string;
  readonly fileTimeout?: string;
  readonly expectedBytes?: string;
}

export interface SimPlan {
  readonly model: Model;
  readonly boards: readonly Identity[];
  readonly faults: Faults;
  readonly fileTimeoutMs?: number;
  readonly expectedBytes?: number;
}

export type LabMode = 'full' | 'proxy';

/** @throws UserError bad-input */
export function readPlan(flags: SimFlags): SimPlan {
  const model = findModel(flags.model);
  const seed = wholeNumber('--seed', flags.seed);
  const bandwidth = flags.bandwidth === undefined ? undefined : parseBandwidth(flags.bandwidth);
  const boards = boardIdentities({
    model,
    seed,
    count: wholeNumber('--count', flags.count),
    ...(flags.serial === undefined ? {} : { serial: parseSerial(flags.serial) }),
    ...(flags.firstSerial === undefined ? {} : { firstSerial: parseSerial(flags.firstSerial) }),
    ...(flags.mac === undefined ? {} : { mac: parseMac(flags.mac) }),
  });
  checkTogether(flags, model);
  return {
    model,
    boards,
    faults: {
      loss: parseShare('--loss', flags.loss),
      dup: parseShare('--dup', flags.dup),
      reorder: parseShare('--reorder', flags.reorder),
      latencyMs: parseMilliseconds('--latency', flags.latency),
      seed,
      ...(bandwidth === undefined ? {} : { bitsPerSecond: bandwidth }),
    },
    ...(flags.fileTimeout === undefined ? {} : { fileTimeoutMs: parseMilliseconds('--file-timeout', flags.fileTimeout) }),
    ...(flags.expectedBytes === undefined ? {} : { expectedBytes: wholeNumber('--expected-bytes', flags.expectedBytes) }),
  };
}

function checkTogether(flags: SimFlags, model: Model): void {
  if (flags.mode !== undefined && flags.mode !== 'full' && flags.mode !== 'proxy') {
    throw new UserError('bad-input', `"${flags.mode}" is not a mode of the lab`, { hint: 'One of: full, proxy' });
  }
  if (flags.mode === 'proxy' && model.firmware === 'u-boot') {
    throw new UserError('bad-input', "U-Boot knows no proxies: it takes the first offer, which is the router's", {
      hint: 'Leave out --mode proxy',
    });
  }
  refuseIgnored(flags);
  if (flags.out !== undefined && (flags.count !== '1' || !isPiModel(model))) {
    throw new UserError('bad-input', '--out is for a single Raspberry Pi');
  }
  if (flags.image !== undefined) {
    parseImageRef(flags.image);
  }
  if (flags.image !== undefined && flags.bootBytes !== undefined) {
    throw new UserError('bad-input', '--boot-bytes is the size of generated boot files, --image has its own', { hint: 'Give one of them' });
  }
}

/** A flag without effect would leave its user with a wrong idea of what was tried. */
function refuseIgnored(flags: SimFlags): void {
  const elsewhere = '--interface plays against the server that is there';
  const inGuest = '--qemu goes on into a guest, whose network has no faults';
  const pairs: readonly (readonly [boolean, string, string])[] = [
    [flags.interface !== undefined && flags.lab === true, '--lab', elsewhere],
    [flags.interface !== undefined && flags.qemu === true, '--qemu', elsewhere],
    [flags.interface !== undefined && flags.mode !== undefined, '--mode', elsewhere],
    [flags.interface !== undefined && flags.bootBytes !== undefined, '--boot-bytes', elsewhere],
    [flags.interface === undefined && flags.register === true, '--register', 'in the lab the boards are registered anyway'],
    [flags.qemu === true && flags.loss !== '0', '--loss', inGuest],
    [flags.qemu === true && flags.dup !== '0', '--dup', inGuest],
    [flags.qemu === true && flags.reorder !== '0', '--reorder', inGuest],
    [flags.qemu === true && flags.latency !== '0', '--latency', inGuest],
    [flags.qemu === true && flags.bandwidth !== undefined, '--bandwidth', inGuest],
  ];
  const [ignored] = pairs.filter(([isGiven]) => isGiven);
  if (ignored) {
    throw new UserError('bad-input', `${ignored[1]} would have no effect: ${ignored[2]}`, { hint: 'Leave out one of the two' });
  }
}

export function wholeNumber(flag: string, text: string): number {
  if (!/^\d{1,12}$/.test(text)) {
    throw new UserError('bad-input', `${flag} ${text} is not a whole number`);
  }
  return Number(text);
}

/** `1%` or `0.01`. */
export function parseShare(flag: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)(%?)$/.exec(text);
  const share = Number(match?.[1]) / (match?.[2] === '%' ? 100 : 1);
  if (!match || share < 0 || share >= 1) {
    throw new UserError('bad-input', `${flag} ${text} is not a share of all packets`, { hint: 'For example 1% or 0.01' });
  }
  return share;
}

/** `2ms`, `30s` or a number of milliseconds. */
export function parseMilliseconds(flag: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s)?$/.exec(text);
  if (!match) {
    throw new UserError('bad-input', `${flag} ${text} is not a time`, { hint: 'For example 2ms or 30s' });
  }
  return Number(match[1]) * (match[2] === 's' ? 1000 : 1);
}

/** `1gbit`, `100mbit`: bits per second, as tc(8) writes them. */
export function parseBandwidth(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(k|m|g)bit$/i.exec(text);
  const factor = { k: 1e3, m: 1e6, g: 1e9 }[match?.[2]?.toLowerCase() ?? ''];
  if (!match || factor === undefined || Number(match[1]) === 0) {
    throw new UserError('bad-input', `--bandwidth ${text} is not a rate`, { hint: 'For example 1gbit or 100mbit' });
  }
  return Number(match[1]) * factor;
}

/** `40M`, `512k`, in powers of 1000. */
export function parseBytes(flag: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)(k|m|g)?b?$/i.exec(text);
  if (!match) {
    throw new UserError('bad-input', `${flag} ${text} is not a size`, { hint: 'For example 40M' });
  }
  const factor = { k: 1e3, m: 1e6, g: 1e9 }[match[2]?.toLowerCase() ?? ''] ?? 1;
  return Math.round(Number(match[1]) * factor);
}
