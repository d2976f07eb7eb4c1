/** Option 52 (RFC 2132 section 9.3): options go on in the fields `file` and `sname` when the message would be too long. */
import { type DhcpMessage, type DhcpOption, optionBytes, paddingFor, putOptions } from './message.ts';
import { OptionCode } from './option-code.ts';

/** Every client takes this much (RFC 2131 section 2): 576 bytes less the headers of IP and UDP. */
const minAcceptedBytes = 548;
const headerBytes = 28;
const overloadOptionBytes = 3;

/** The longest message that a client takes, by its option 57, which counts the headers of IP and UDP (dnsmasq reads it so). */
export function maxMessageBytes(option57: Buffer | undefined): number {
  return Math.max(minAcceptedBytes, (option57?.length === 2 ? option57.readUInt16BE(0) : 0) - headerBytes);
}

/**
 * The message within `maxBytes`: options from the end move into `file`, then `sname`, as far as these are unused.
 * What fits nowhere stays where it was: too long a message may still be read, a missing option never.
 */
export function fitMessage(message: DhcpMessage, maxBytes: number): DhcpMessage {
  const room = maxBytes - 241;
  if (optionBytes(message.options) <= room) {
    return message;
  }
  const isFree = (field: Buffer): boolean => field.every((byte) => byte === 0);
  const file = isFree(message.file) ? fill(128) : undefined;
  const sname = isFree(message.sname) ? fill(64) : undefined;
  const kept: DhcpOption[] = [];
  let used = overloadOptionBytes;
  for (const option of message.options) {
    const bytes = optionBytes([option]);
    if (used + bytes <= room) {
      kept.push(option);
      used += bytes;
    } else if (!file?.take(option) && !sname?.take(option)) {
      kept.push(option);
    }
  }
  const overload = (file?.isUsed() ? 1 : 0) + (sname?.isUsed() ? 2 : 0);
  const options =
    overload === 0 ? kept : [...kept.slice(0, 1), { code: OptionCode.OptionOverload, data: Buffer.from([overload]) }, ...kept.slice(1)];
  return {
    ...message,
    ...(file?.isUsed() ? { file: file.bytes() } : {}),
    ...(sname?.isUsed() ? { sname: sname.bytes() } : {}),
    options,
    padding: paddingFor(options),
  };
}

interface Area {
  /** False when it does not fit. */
  readonly take: (option: DhcpOption) => boolean;
  readonly isUsed: () => boolean;
  readonly bytes: () => Buffer;
}

/** A field that holds options, its end option included. */
function fill(length: number): Area {
  const options: DhcpOption[] = [];
  return {
    take: (option) => {
      const fits = optionBytes([...options, option]) + 1 <= length;
      if (fits) {
        options.push(option);
      }
      return fits;
    },
    isUsed: () => options.length > 0,
    bytes: () => {
      const field = Buffer.alloc(length);
      field[putOptions(field, 0, options)] = OptionCode.End;
      return field;
    },
  };
}
