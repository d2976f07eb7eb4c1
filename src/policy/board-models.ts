/** What each board needs of an image, as data. Names of files: raspberrypi/firmware, Raspberry Pi documentation (boot.adoc). */
import { UserError } from '../domain/errors.ts';
import type { Architecture } from '../domain/image.ts';

/** By any of these the need is met: drivers have other names in other kernels. */
export type AnyOf = readonly string[];

interface Common {
  readonly name: string;
  readonly title: string;
  readonly archs: readonly Architecture[];
  /** Without one of each its network does not come up. */
  readonly drivers: readonly AnyOf[];
}

export interface PiBoard extends Common {
  readonly kind: 'pi';
  /** Any of them; in the order in which firmware looks. */
  readonly deviceTrees: AnyOf;
  /** Filters of config.txt that it matches. */
  readonly filters: readonly string[];
  /** Fetched before the kernel; Pi 5 has all of it in its EEPROM. */
  readonly firmware: readonly string[];
  /** Firmware that only works together with another file of the same release. */
  readonly pair?: readonly [string, string];
  /** Its mask ROM and bootcode.bin ask for blocks of 512 bytes; EEPROMs for 1024 or 1468 (pi-netboot 1.10, 2.5). */
  readonly loader: 'bootcode' | 'eeprom';
  readonly why?: string;
}

export interface PcBoard extends Common {
  readonly kind: 'pc';
}

export type BoardModel = PiBoard | PcBoard;

/** Raspberry Pi's kernels have a USB host driver of their own. */
const usbHost = ['dwc2', 'dwc_otg'];
/** Raspberry Pi's kernels call it rp1, Linux 6.17 rp1_pci. */
const rp1 = ['rp1', 'rp1_pci'];
const noRp1 =
  "Debian's kernels up to 13 have no driver for RP1, which the Ethernet of a Pi 5 hangs on; import an image with Raspberry Pi's kernel";

const pi3 = {
  kind: 'pi',
  archs: ['arm64'],
  firmware: ['bootcode.bin'],
  pair: ['start.elf', 'fixup.dat'],
  loader: 'bootcode',
} as const;
const pi4 = {
  kind: 'pi',
  archs: ['arm64'],
  firmware: [],
  pair: ['start4.elf', 'fixup4.dat'],
  loader: 'eeprom',
  drivers: [['genet']],
} as const;
const pi5 = { kind: 'pi', archs: ['arm64'], firmware: [], loader: 'eeprom', drivers: [rp1, ['macb']], why: noRp1 } as const;

/** What a PC has cannot be known: without any of these it has none of the usual ones. */
export const pcDrivers: AnyOf = ['e1000e', 'igb', 'igc', 'r8169', 'tg3', 'virtio_net', 'atlantic', 'e1000'];
const pc = { kind: 'pc', drivers: [pcDrivers] } as const;

export const boardModels: readonly BoardModel[] = [
  {
    ...pi3,
    name: 'pi2b',
    title: 'Raspberry Pi 2B v1.2',
    deviceTrees: ['bcm2710-rpi-2-b.dtb', 'bcm2709-rpi-2-b.dtb'],
    filters: ['pi2'],
    drivers: [usbHost, ['smsc95xx']],
  },
  {
    ...pi3,
    name: 'pi3b',
    title: 'Raspberry Pi 3B',
    deviceTrees: ['bcm2710-rpi-3-b.dtb'],
    filters: ['pi3'],
    drivers: [usbHost, ['smsc95xx']],
  },
  {
    ...pi3,
    name: 'pi3b+',
    title: 'Raspberry Pi 3B+',
    deviceTrees: ['bcm2710-rpi-3-b-plus.dtb'],
    filters: ['pi3', 'pi3+'],
    drivers: [usbHost, ['lan78xx']],
  },
  {
    ...pi3,
    name: 'cm3',
    title: 'Compute Module 3 on a board with a LAN951x',
    deviceTrees: ['bcm2710-rpi-cm3.dtb'],
    filters: ['pi3', 'cm3'],
    drivers: [usbHost, ['smsc95xx']],
  },
  { ...pi4, name: 'pi4', title: 'Raspberry Pi 4B', deviceTrees: ['bcm2711-rpi-4-b.dtb'], filters: ['pi4'] },
  { ...pi4, name: 'pi400', title: 'Raspberry Pi 400', deviceTrees: ['bcm2711-rpi-400.dtb'], filters: ['pi4', 'pi400'] },
  { ...pi4, name: 'cm4', title: 'Compute Module 4', deviceTrees: ['bcm2711-rpi-cm4.dtb'], filters: ['pi4', 'cm4'] },
  { ...pi5, name: 'pi5', title: 'Raspberry Pi 5', deviceTrees: ['bcm2712-rpi-5-b.dtb', 'bcm2712d0-rpi-5-b.dtb'], filters: ['pi5'] },
  { ...pi5, name: 'pi500', title: 'Raspberry Pi 500', deviceTrees: ['bcm2712-rpi-500.dtb'], filters: ['pi5', 'pi500'] },
  {
    ...pi5,
    name: 'cm5',
    title: 'Compute Module 5',
    deviceTrees: ['bcm2712-rpi-cm5-cm5io.dtb', 'bcm2712-rpi-cm5l-cm5io.dtb', 'bcm2712-rpi-cm5-cm4io.dtb', 'bcm2712-rpi-cm5l-cm4io.dtb'],
    filters: ['pi5', 'cm5'],
  },
  { ...pc, name: 'pc', title: 'PC with BIOS or UEFI', archs: ['amd64'] },
  { ...pc, name: 'uefi-arm64', title: 'arm64 machine with UEFI or U-Boot', archs: ['arm64'] },
];

/** @throws UserError bad-input */
export function findBoardModel(name: string): BoardModel {
  const model = boardModels.find((candidate) => candidate.name === name);
  if (!model) {
    throw new UserError('bad-input', `"${name}" is not a board model`, {
      hint: `One of: ${boardModels.map((known) => known.name).join(', ')}`,
    });
  }
  return model;
}
