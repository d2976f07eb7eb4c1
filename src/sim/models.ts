/** The boards that can be played, as data. Sources: Raspberry Pi revision codes, captures, release notes of rpi-eeprom. */
import { UserError } from '../domain/errors.ts';
import type { Architecture } from '../domain/image.ts';

interface Common {
  readonly name: string;
  readonly title: string;
  /** First three octets of its MAC. */
  readonly oui: string;
  readonly arch: Architecture;
}

/** Mask ROM and bootcode.bin. */
export interface Pi3Model extends Common {
  readonly firmware: 'pi3';
  /** Absent where bootcode.bin is on an SD card. */
  readonly rom?: RomQuirks;
  readonly deviceTree: string;
  /** Filters of config.txt that it matches. */
  readonly filters: readonly string[];
}

export interface RomQuirks {
  /** Option 97 is sixteen times 0x44, and option 55 lacks 1 and 3. */
  readonly hidesSerial: boolean;
  /** Acts on a stored OFFER only when another frame comes later than a second after its DISCOVER (openSUSE/netboot-rpi3b). */
  readonly needsLaterFrame: boolean;
  /** The text in option 43 must be followed by three spaces (boot-net.adoc, "Known problems"). */
  readonly threeSpaces: boolean;
  /** Offers through a relay are refused (boot-net.adoc). */
  readonly hopsCheck: boolean;
  /** Two different OFFERs within this time hang it (raspberrypi/firmware#934); 0 for never. */
  readonly lockupOnDualMs: number;
  /** ARP is answered only until the first transfer begins (boot-net.adoc). */
  readonly arpUntilTransfer: boolean;
}

export interface EepromModel extends Common {
  readonly firmware: 'eeprom';
  readonly family: 4 | 5;
  /** Option 97, bytes 1 to 4, as on the wire. */
  readonly fourcc: string;
  readonly revision: number;
  readonly blksize: number;
  /** Before 2025-09-23 block numbers did not roll over. */
  readonly noWrap: boolean;
  readonly deviceTree: string;
  readonly filters: readonly string[];
}

export interface PcModel extends Common {
  readonly firmware: 'pxe-rom' | 'edk2' | 'edk2-http' | 'ipxe' | 'u-boot';
  /** Option 93. */
  readonly pxeArch: number;
}

export type Model = Pi3Model | EepromModel | PcModel;

const pi3Oui = 'b8:27:eb';
const fourcc4 = '34695052';
const fourcc5 = '35695052';
/** QEMU's, which no shop sells. */
const pcOui = '52:54:00';

/** The quirks that the 3B+ no longer has. */
const rom3b: RomQuirks = {
  hidesSerial: true,
  needsLaterFrame: true,
  threeSpaces: true,
  hopsCheck: true,
  // "Within about 2 s" says the report, and a delay of 1 to 2 s is the cure that its maintainer names: certain is 1 s.
  lockupOnDualMs: 1000,
  arpUntilTransfer: true,
};
const rom3bPlus: RomQuirks = {
  hidesSerial: false,
  needsLaterFrame: false,
  threeSpaces: false,
  hopsCheck: false,
  lockupOnDualMs: 0,
  arpUntilTransfer: false,
};

const pi3 = { firmware: 'pi3', oui: pi3Oui, arch: 'arm64' } as const;
const pi4 = { firmware: 'eeprom', family: 4, fourcc: fourcc4, blksize: 1468, noWrap: false, arch: 'arm64' } as const;
const pi5 = { ...pi4, family: 5, fourcc: fourcc5 } as const;

export const models: readonly Model[] = [
  { ...pi3, name: 'pi3b', title: 'Raspberry Pi 3B', rom: rom3b, deviceTree: 'bcm2710-rpi-3-b.dtb', filters: ['pi3'] },
  { ...pi3, name: 'pi3b+', title: 'Raspberry Pi 3B+', rom: rom3bPlus, deviceTree: 'bcm2710-rpi-3-b-plus.dtb', filters: ['pi3', 'pi3+'] },
  {
    ...pi3,
    name: 'bootcode-sd',
    title: 'Raspberry Pi 3B with bootcode.bin on a card',
    deviceTree: 'bcm2710-rpi-3-b.dtb',
    filters: ['pi3'],
  },
  {
    ...pi4,
    name: 'pi4',
    title: 'Raspberry Pi 4B',
    oui: 'dc:a6:32',
    revision: 0xd03114,
    deviceTree: 'bcm2711-rpi-4-b.dtb',
    filters: ['pi4'],
  },
  {
    ...pi4,
    name: 'pi4-2021',
    title: 'Raspberry Pi 4B, boot loader of 2021',
    oui: 'e4:5f:01',
    revision: 0xc03112,
    blksize: 1024,
    noWrap: true,
    deviceTree: 'bcm2711-rpi-4-b.dtb',
    filters: ['pi4'],
  },
  {
    ...pi4,
    name: 'pi400',
    title: 'Raspberry Pi 400',
    oui: 'e4:5f:01',
    revision: 0xc03130,
    deviceTree: 'bcm2711-rpi-400.dtb',
    filters: ['pi4', 'pi400'],
  },
  {
    ...pi4,
    name: 'cm4',
    title: 'Compute Module 4',
    oui: 'd8:3a:dd',
    revision: 0xc03140,
    deviceTree: 'bcm2711-rpi-cm4.dtb',
    filters: ['pi4', 'cm4'],
  },
  {
    ...pi5,
    name: 'pi5',
    title: 'Raspberry Pi 5',
    oui: '2c:cf:67',
    revision: 0xd04170,
    deviceTree: 'bcm2712-rpi-5-b.dtb',
    filters: ['pi5'],
  },
  {
    ...pi5,
    name: 'cm5',
    title: 'Compute Module 5',
    oui: '88:a2:9e',
    revision: 0xd04180,
    deviceTree: 'bcm2712-rpi-cm5-cm5io.dtb',
    filters: ['pi5', 'cm5'],
  },
  { name: 'pc-bios', title: 'PC with BIOS and a plain PXE ROM', firmware: 'pxe-rom', pxeArch: 0, oui: pcOui, arch: 'amd64' },
  { name: 'pc-uefi', title: 'PC with UEFI (EDK2), PXE', firmware: 'edk2', pxeArch: 7, oui: pcOui, arch: 'amd64' },
  { name: 'uefi-http', title: 'PC with UEFI (EDK2), HTTP boot', firmware: 'edk2-http', pxeArch: 16, oui: pcOui, arch: 'amd64' },
  { name: 'ipxe', title: 'PC with iPXE in its ROM', firmware: 'ipxe', pxeArch: 0, oui: pcOui, arch: 'amd64' },
  { name: 'u-boot', title: 'arm64 board with U-Boot', firmware: 'u-boot', pxeArch: 22, oui: pcOui, arch: 'arm64' },
];

export const modelNames: readonly string[] = models.map((model) => model.name);

/** @throws UserError bad-input */
export function findModel(name: string): Model {
  const model = models.find((candidate) => candidate.name === name);
  if (!model) {
    throw new UserError('bad-input', `There is no simulated model "${name}"`, { hint: `One of: ${modelNames.join(', ')}` });
  }
  return model;
}

export function isPiModel(model: Model): model is Pi3Model | EepromModel {
  return model.firmware === 'pi3' || model.firmware === 'eeprom';
}
