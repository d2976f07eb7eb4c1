/**
 * Who asks? Every Raspberry Pi announces itself as an x86 BIOS in options 60 and 93, so option 97 is looked at before
 * the architecture (pi-netboot A.1; first match wins).
 */
import { type Mac, macBytes } from '../domain/mac.ts';
import { isPiSerial, piSerial, type Serial, uuidSerial } from '../domain/serial.ts';
import { clientMac, type DhcpMessage, optionOf } from '../protocol/dhcp/message.ts';
import { OptionCode } from '../protocol/dhcp/option-code.ts';
import { piFourccs, piModels, piOuis, pxeArchitectures } from './client-tables.ts';

export type ClientClass =
  /** Mask ROM of a 2B v1.2, 3B or CM3: tells neither serial nor model. */
  | 'pi3-rom'
  /** bootcode.bin, or the ROM of a 3B+: option 97 is the serial, four times. */
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
  /** Option 93, first code. */
  readonly pxeArch?: number;
}

const romGuid = Buffer.concat([Buffer.from([0]), Buffer.alloc(16, 0x44)]);

export function isPi(client: Client): boolean {
  return client.class.startsWith('pi');
}

/** Undefined when the hardware is not Ethernet. */
export function classifyClient(message: DhcpMessage): Client | undefined {
  const mac = clientMac(message);
  if (!mac) {
    return undefined;
  }
  const vendor = optionOf(message, OptionCode.VendorClassIdentifier)?.toString('latin1') ?? '';
  const guid = optionOf(message, OptionCode.ClientMachineIdentifier);
  if (vendor.startsWith('PXEClient') && guid?.length === 17) {
    const pi = classifyPi(mac, guid);
    if (pi) {
      return pi;
    }
  }
  const pc = { mac, ...pcSerial(guid), ...pxeArchOf(message) };
  if (isIpxe(message)) {
    return { class: 'ipxe', model: 'PC', ...pc };
  }
  if (vendor.startsWith('HTTPClient')) {
    return { class: 'uefi-http', model: modelOf(pc.pxeArch), ...pc };
  }
  if (vendor.startsWith('U-Boot')) {
    return { class: 'u-boot', model: modelOf(pc.pxeArch), ...pc };
  }
  if (vendor.startsWith('PXEClient')) {
    return { class: 'pxe', model: modelOf(pc.pxeArch), ...pc };
  }
  return { class: 'lease', mac };
}

function classifyPi(mac: Mac, guid: Buffer): Client | undefined {
  if (guid.equals(romGuid)) {
    return { class: 'pi3-rom', mac, model: 'Raspberry Pi 2B/3B/CM3' };
  }
  const fourcc = piFourccs.get(guid.toString('hex', 1, 5));
  if (fourcc) {
    // 5-8 revision code, 9-12 tail of the MAC, 13-16 serial; both numbers little endian.
    const type = (guid.readUInt32LE(5) >>> 4) & 0xff;
    const model = piModels.get(type) ?? (fourcc === 'pi4-eeprom' ? 'Raspberry Pi 4 family' : 'Raspberry Pi 5 family');
    return { class: fourcc, mac, model, serial: piSerial(guid.readUInt32LE(13)) };
  }
  const words = [1, 5, 9, 13].map((at) => guid.readUInt32LE(at));
  const word = words[0] ?? 0;
  const sameTail = macBytes(mac).readUIntBE(3, 3) === (word & 0xffffff);
  if (words.every((other) => other === word) && word !== 0 && (sameTail || piOuis.has(mac.slice(0, 8)))) {
    return { class: 'pi3-bootcode', mac, model: 'Raspberry Pi', serial: piSerial(word) };
  }
  return undefined;
}

function isIpxe(message: DhcpMessage): boolean {
  // iPXE writes option 77 as bare text, without the length bytes of RFC 3004.
  const userClass = optionOf(message, OptionCode.UserClass)?.toString('latin1') ?? '';
  return userClass.includes('iPXE') || optionOf(message, OptionCode.IpxeEncapsulated) !== undefined;
}

function pcSerial(guid: Buffer | undefined): { serial?: Serial } {
  const uuid = guid?.length === 17 && guid[0] === 0 ? guid.subarray(1) : undefined;
  return uuid && !uuid.every((byte) => byte === 0) ? { serial: uuidSerial(uuid) } : {};
}

function modelOf(pxeArch: number | undefined): string {
  const name = pxeArch === undefined ? undefined : pxeArchitectures.get(pxeArch)?.name;
  return name === undefined ? 'PC' : `PC (${name})`;
}

function pxeArchOf(message: DhcpMessage): { pxeArch?: number } {
  const data = optionOf(message, OptionCode.ClientSystemArchitecture);
  return data && data.length >= 2 ? { pxeArch: data.readUInt16BE(0) } : {};
}

/** What a machine of this serial runs, when its firmware did not say. */
export function architectureOf(
  client: Pick<Client, 'pxeArch'> & { readonly class: string },
  serial: Serial | undefined,
): 'arm64' | 'amd64' {
  if (client.class.startsWith('pi') || (serial && isPiSerial(serial))) {
    return 'arm64';
  }
  return pxeArchitectures.get(client.pxeArch ?? 0)?.arch ?? 'amd64';
}
