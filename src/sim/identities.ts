/** Serials and MACs for simulated boards: follow from the seed, so that an operator can register them once. */
import { UserError } from '../domain/errors.ts';
import { type Mac, parseMac } from '../domain/mac.ts';
import { isPiSerial, parseSerial, piSerial, type Serial } from '../domain/serial.ts';
import { isPiModel, type Model } from './models.ts';
import { seededRandom } from './random.ts';

export interface Identity {
  readonly serial: Serial;
  readonly mac: Mac;
}

/** As many as there are different tails of a MAC; with more, two boards would be one. */
const maxBoards = 4096;

export interface IdentityOptions {
  readonly model: Model;
  readonly count: number;
  readonly seed: number;
  /** Of the first board; the others count up. Pis only. */
  readonly firstSerial?: Serial;
  /** For a single board. */
  readonly serial?: Serial;
  readonly mac?: Mac;
}

/** @throws UserError bad-input */
export function boardIdentities(options: IdentityOptions): Identity[] {
  const { model, count } = options;
  checkOptions(options);
  const random = seededRandom(options.seed);
  const first = options.firstSerial ?? options.serial;
  const identities: Identity[] = [];
  const macs = new Set<Mac>();
  while (identities.length < count) {
    const serial = first === undefined ? randomSerial(model, random) : isPiSerial(first) ? later(first, identities.length) : first;
    const mac = options.mac ?? macOf(model, serial, random);
    if (!macs.has(mac)) {
      macs.add(mac);
      identities.push({ serial, mac });
    }
  }
  return identities;
}

function checkOptions({ model, count, serial, mac, firstSerial }: IdentityOptions): void {
  if (count < 1 || count > maxBoards) {
    throw new UserError('bad-input', `${count} boards cannot be played`, { hint: `1 to ${maxBoards}` });
  }
  if (count > 1 && (serial !== undefined || mac !== undefined)) {
    throw new UserError('bad-input', '--serial and --mac are for a single board', { hint: 'For more of them: --first-serial or --seed' });
  }
  for (const given of [serial, firstSerial]) {
    if (given !== undefined && isPiSerial(given) !== isPiModel(model)) {
      throw new UserError('bad-input', `"${given}" is not a serial of a ${model.title}`, {
        hint: 'A Pi has 8 hex digits, for example 91cdf03d, a PC a UUID',
      });
    }
  }
  if (firstSerial !== undefined && !isPiModel(model)) {
    throw new UserError('bad-input', '--first-serial is for Raspberry Pis', { hint: 'The UUIDs of PCs follow from --seed' });
  }
}

function later(first: Serial, index: number): Serial {
  return piSerial((Number.parseInt(first, 16) + index) % 2 ** 32);
}

function randomSerial(model: Model, random: () => number): Serial {
  const word = (): string =>
    Math.floor(random() * 2 ** 32)
      .toString(16)
      .padStart(8, '0');
  if (isPiModel(model)) {
    return parseSerial(word());
  }
  const hex = word() + word() + word() + word();
  return parseSerial([hex.slice(0, 8), hex.slice(8, 12), `4${hex.slice(13, 16)}`, `a${hex.slice(17, 20)}`, hex.slice(20)].join('-'));
}

/** Up to the 3B+, the last three octets are those of the serial (pi-netboot 1.3). */
function macOf(model: Model, serial: Serial, random: () => number): Mac {
  const tail =
    model.firmware === 'pi3'
      ? serial.slice(2)
      : Math.floor(random() * 2 ** 24)
          .toString(16)
          .padStart(6, '0');
  return parseMac(`${model.oui}${tail}`);
}
