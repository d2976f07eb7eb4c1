/**
 * Who asks? Every Raspberry Pi announces itself as an x86 BIOS in options 60 and 93, so option 97 is looked at before
 * the architecture (pi-netboot A.1). One table; the first rule that matches wins.
 */
import type { Architecture } from '../domain/image.ts';
import { type Mac, macBytes } from '../domain/mac.ts';
import { isPiSerial, piSerial, type Serial, uuidSerial } from '../domain/serial.ts';
import { clientMac, type DhcpMessage, optionOf } from '../protocol/dhcp/message.ts';
import { OptionCode } from '../protocol/dhcp/option-code.ts';
import { architectureCodes, firstKnownCode } from './architecture-codes.ts';
import { pi3Oui, piFourccs, piOuis, sharedUuids } from './client-tables.ts';
import { readPiRevision } from './pi-revision.ts';

export type ClientClass =
  /** Mask ROM of a 2B v1.2, 3B or CM3: tells neither serial nor model. */
  | 'pi3-rom'
  /** bootcode.bin, or the ROM of a 3B+: option 97 is the serial, four times. Also any Pi with DHCP_OPTION97=0. */
  | 'pi3-bootcode'
  | 'pi4-eeprom'
  | 'pi5-eeprom'
  | 'ipxe'
  | 'pxe'
  | 'uefi-http'
  | 'u-boot'
  /** Anything that only wants an address: an operating system, a phone. */
  | 'lease';

export interface Client {
  readonly class: ClientClass;
  readonly mac: Mac;
  readonly serial?: Serial;
  readonly model?: string;
  readonly memoryMiB?: number;
  /** Option 93: the first code that is known. */
  readonly pxeArch?: number;
}

/** What the table looks at. */
interface Signs {
  readonly mac: Mac;
  /** Option 60. */
  readonly vendor: string;
  /** Option 97 when it has its 17 bytes. */
  readonly guid: Buffer | undefined;
  readonly isPiOui: boolean;
  readonly isIpxe: boolean;
  readonly pxeArch: number | undefined;
}

type Found = Omit<Client, 'mac'>;

/** What every Raspberry Pi says of itself over IPv4, from the 3B to the 5. */
const piVendor = 'PXEClient:Arch:00000:UNDI:002001';
const romGuid = Buffer.concat([Buffer.from([0]), Buffer.alloc(16, 0x44)]);

const rules: readonly ((signs: Signs) => Found | undefined)[] = [
  // The mask ROM fills option 97 with the letter D.
  ({ vendor, guid }) => (isPxe(vendor) && guid?.equals(romGuid) ? { class: 'pi3-rom', model: 'Raspberry Pi 2B/3B/CM3' } : undefined),
  // EEPROM boot loaders since 2020-03. Their REQUEST may lack option 60 (rpi-eeprom#82), so it is not asked for.
  ({ guid }) => {
    const fourcc = guid && piFourccs.get(guid.toString('hex', 1, 5));
    return guid && fourcc ? eepromClient(guid, fourcc) : undefined;
  },
  // bootcode.bin, the ROM of a 3B+, and any EEPROM with DHCP_OPTION97=0: the serial four times.
  ({ vendor, guid, mac, isPiOui }) => {
    const word = guid && fourTimes(guid);
    const isSerial = word !== undefined && word !== 0 && (isPiOui || (word & 0xffffff) === macBytes(mac).readUIntBE(3, 3));
    return isPxe(vendor) && isSerial ? { class: 'pi3-bootcode', model: 'Raspberry Pi', serial: piSerial(word) } : undefined;
  },
  // DHCP_OPTION97 with the operator's own prefix: what follows it is as before, the MAC's tail among it.
  ({ vendor, guid, mac, isPiOui }) =>
    isPiOui && vendor === piVendor && guid?.subarray(9, 13).equals(macBytes(mac).subarray(2))
      ? eepromClient(guid, 'pi4-eeprom')
      : undefined,
  // Firmware from before option 97, or a prefix that we cannot read: a Pi all the same, and to be shown as one.
  ({ vendor, mac, isPiOui, isIpxe }) =>
    isPiOui && vendor === piVendor && !isIpxe
      ? { class: mac.startsWith(pi3Oui) ? 'pi3-bootcode' : 'pi4-eeprom', model: 'Raspberry Pi' }
      : undefined,
  (signs) => (signs.isIpxe ? { class: 'ipxe', model: 'PC', ...pcFacts(signs) } : undefined),
  (signs) => (signs.vendor.startsWith('HTTPClient') ? { class: 'uefi-http', model: 'PC', ...pcFacts(signs) } : undefined),
  (signs) => (signs.vendor.startsWith('U-Boot') ? { class: 'u-boot', ...pcFacts(signs) } : undefined),
  (signs) => (isPxe(signs.vendor) ? { class: 'pxe', model: pcModel(signs.pxeArch), ...pcFacts(signs) } : undefined),
];

export function isPi(client: Client): boolean {
  return client.class.startsWith('pi');
}

/** The ROM and bootcode.bin use what they are offered and never send a REQUEST (raspberrypi/firmware#991, #1699). */
export function neverRequests(client: Client): boolean {
  return client.class === 'pi3-rom' || client.class === 'pi3-bootcode';
}

/** Undefined when the hardware is not Ethernet. */
export function classifyClient(message: DhcpMessage): Client | undefined {
  const mac = clientMac(message);
  if (!mac) {
    return undefined;
  }
  const guid = optionOf(message, OptionCode.ClientMachineIdentifier);
  const signs: Signs = {
    mac,
    vendor: optionOf(message, OptionCode.VendorClassIdentifier)?.toString('latin1') ?? '',
    guid: guid?.length === 17 ? guid : undefined,
    isPiOui: piOuis.has(mac.slice(0, 8)),
    isIpxe: isIpxe(message),
    pxeArch: firstKnownCode(optionOf(message, OptionCode.ClientSystemArchitecture)),
  };
  // No rule holds without a vendor, and most of what asks is a system that renews its lease.
  const isPlain = signs.vendor === '' && signs.guid === undefined && !signs.isIpxe;
  for (const rule of isPlain ? [] : rules) {
    const found = rule(signs);
    if (found) {
      return { mac, ...found };
    }
  }
  return { class: 'lease', mac };
}

/** What a machine said in its last DISCOVER. */
export interface RecentClient {
  readonly xid: number;
  readonly client: Client;
}

/** A REQUEST that says less than the DISCOVER of the same exchange is from the same firmware (rpi-eeprom#82, #87). */
export function recallClient(client: Client, message: DhcpMessage, recent: RecentClient | undefined): Client {
  return client.class === 'lease' && recent?.xid === message.xid ? recent.client : client;
}

function isPxe(vendor: string): boolean {
  return vendor.startsWith('PXEClient');
}

/** 5-8 revision code, 9-12 tail of the MAC, 13-16 serial; both numbers little endian. */
function eepromClient(guid: Buffer, announced: 'pi4-eeprom' | 'pi5-eeprom'): Found {
  const revision = readPiRevision(guid.readUInt32LE(5));
  // A Pi 5 announced itself as a Pi 4 until 2023-10-30; the chip in its revision code tells.
  const eeprom = revision.chip === 'BCM2712' ? 'pi5-eeprom' : announced;
  return {
    class: eeprom,
    model: revision.model ?? (eeprom === 'pi4-eeprom' ? 'Raspberry Pi 4 family' : 'Raspberry Pi 5 family'),
    ...(revision.memoryMiB === undefined ? {} : { memoryMiB: revision.memoryMiB }),
    serial: piSerial(guid.readUInt32LE(13)),
  };
}

function fourTimes(guid: Buffer): number | undefined {
  const word = guid.readUInt32LE(1);
  return [5, 9, 13].every((at) => guid.readUInt32LE(at) === word) ? word : undefined;
}

function isIpxe(message: DhcpMessage): boolean {
  // iPXE writes option 77 as bare text, without the length bytes of RFC 3004.
  const userClass = optionOf(message, OptionCode.UserClass)?.toString('latin1') ?? '';
  return userClass.includes('iPXE') || optionOf(message, OptionCode.IpxeEncapsulated) !== undefined;
}

function pcFacts({ guid, pxeArch }: Signs): Pick<Client, 'serial' | 'pxeArch'> {
  const uuid = guid?.[0] === 0 ? guid.subarray(1) : undefined;
  return {
    ...(uuid && !sharedUuids.has(uuid.toString('hex')) ? { serial: uuidSerial(uuid) } : {}),
    ...(pxeArch === undefined ? {} : { pxeArch }),
  };
}

function pcModel(pxeArch: number | undefined): string {
  const name = pxeArch === undefined ? undefined : architectureCodes.get(pxeArch)?.name;
  return name === undefined ? 'PC' : `PC (${name})`;
}

/** What a machine of this serial runs, the best first; an image for any of them will do. */
export function architecturesOf(
  client: Pick<Client, 'pxeArch'> & { readonly class: string },
  serial: Serial | undefined,
): readonly [Architecture, ...Architecture[]] {
  if (client.class === 'pi5-eeprom') {
    // Its firmware has no 32-bit mode (config.txt documentation, arm_64bit).
    return ['arm64'];
  }
  if (client.class.startsWith('pi') || (serial && isPiSerial(serial))) {
    return ['arm64', 'armhf'];
  }
  return [architectureCodes.get(client.pxeArch ?? 0)?.runs ?? 'amd64'];
}
