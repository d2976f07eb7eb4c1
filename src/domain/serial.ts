import { UserError } from './errors.ts';

declare const brand: unique symbol;
/** The identity of a board: 8 lower-case hex digits (Raspberry Pi) or a lower-case SMBIOS UUID (PC). */
export type Serial = string & { readonly [brand]: 'Serial' };

const uuidPattern = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/**
 * A Pi's serial may be given with 8 digits or in the 16-digit form of /proc/cpuinfo, of which boards use the low
 * 32 bits as their TFTP directory (pi-netboot: serials shown as 10000000abcd1234).
 * @throws UserError bad-input
 */
export function parseSerial(input: string): Serial {
  const text = input.trim().toLowerCase();
  if (/^[0-9a-f]{8}$/.test(text) || uuidPattern.test(text)) {
    return text as Serial;
  }
  if (/^[0-9a-f]{16}$/.test(text)) {
    return text.slice(8) as Serial;
  }
  throw new UserError('bad-input', `"${input}" is not a serial number`, {
    hint: 'A Raspberry Pi has 8 hex digits (91cdf03d; cat /proc/cpuinfo shows it), a PC the UUID of its BIOS (dmidecode -s system-uuid)',
  });
}

export function isPiSerial(serial: Serial): boolean {
  return serial.length === 8;
}

/** The 32-bit number of a Pi as eight digits. */
export function piSerial(value: number): Serial {
  return value.toString(16).padStart(8, '0') as Serial;
}

/** The 16 bytes of option 97 as a UUID in network byte order. */
export function uuidSerial(bytes: Buffer): Serial {
  const hex = bytes.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join('-') as Serial;
}

/**
 * The same UUID with its first three fields byte-swapped. BIOSes and iPXE disagree about their order in option 97,
 * so a PC is looked up under both forms.
 */
export function swappedUuid(serial: Serial): Serial {
  if (isPiSerial(serial)) {
    return serial;
  }
  const bytes = Buffer.from(serial.replaceAll('-', ''), 'hex');
  bytes.subarray(0, 4).reverse();
  bytes.subarray(4, 6).reverse();
  bytes.subarray(6, 8).reverse();
  return uuidSerial(bytes);
}
