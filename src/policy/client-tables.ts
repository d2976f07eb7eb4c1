/** What identifies firmware on the wire, as data. Sources: IANA registries, Raspberry Pi revision codes, captures. */

/** Option 97 bytes 1-4 of EEPROM boot loaders. Both byte orders occur, by build date. */
export const piFourccs: ReadonlyMap<string, 'pi4-eeprom' | 'pi5-eeprom'> = new Map([
  ['52506934', 'pi4-eeprom'],
  ['34695052', 'pi4-eeprom'],
  ['52506935', 'pi5-eeprom'],
  ['35695052', 'pi5-eeprom'],
]);

/** Ethernet prefixes of Raspberry Pi Ltd. */
export const piOuis: ReadonlySet<string> = new Set(['b8:27:eb', 'dc:a6:32', 'e4:5f:01', 'd8:3a:dd', '28:cd:c1', '2c:cf:67', '88:a2:9e']);

/** Prefixes of boards that only ever boot through a mask ROM and bootcode.bin. */
export const pi3Oui = 'b8:27:eb';

/** Board type, bits 4-11 of the revision code. */
export const piModels: ReadonlyMap<number, string> = new Map([
  [0x04, 'Raspberry Pi 2B'],
  [0x08, 'Raspberry Pi 3B'],
  [0x0a, 'Compute Module 3'],
  [0x0d, 'Raspberry Pi 3B+'],
  [0x0e, 'Raspberry Pi 3A+'],
  [0x10, 'Compute Module 3+'],
  [0x11, 'Raspberry Pi 4B'],
  [0x13, 'Raspberry Pi 400'],
  [0x14, 'Compute Module 4'],
  [0x15, 'Compute Module 4S'],
  [0x17, 'Raspberry Pi 5'],
  [0x18, 'Compute Module 5'],
  [0x19, 'Raspberry Pi 500'],
  [0x1a, 'Compute Module 5 Lite'],
]);

/** Which boot program UEFI gets first. Secure Boot takes only what Microsoft signed, which of these is the shim. */
export type UefiLoader = 'ipxe' | 'grub';

export interface PxePlatform {
  readonly name: string;
  readonly arch?: 'amd64' | 'arm64';
  /** Files of boot-assets. */
  readonly programs?: Readonly<Record<UefiLoader, string>>;
  /** Why there is nothing for it. */
  readonly unserved?: string;
}

const bios: PxePlatform = { name: 'x86 BIOS', arch: 'amd64', programs: { ipxe: 'undionly.kpxe', grub: 'undionly.kpxe' } };
const x64: PxePlatform = { name: 'x64 UEFI', arch: 'amd64', programs: { ipxe: 'ipxe.efi', grub: 'shimx64.efi' } };
const arm64: PxePlatform = { name: 'arm64 UEFI', arch: 'arm64', programs: { ipxe: 'ipxe-arm64.efi', grub: 'shimaa64.efi' } };
const arm64UBoot: PxePlatform = { name: 'arm64 U-Boot', arch: 'arm64' };
const no64 = 'its firmware is 32-bit, and kernels and boot programs are 64-bit';
const ia32: PxePlatform = { name: 'IA32 UEFI', unserved: no64 };
const arm32: PxePlatform = { name: 'ARM32', unserved: no64 };
const riscV: PxePlatform = { name: 'RISC-V', unserved: 'there are no images for RISC-V' };

/** Option 93 (IANA "Processor Architecture Types"). Codes that are not here are firmware that nobody described to us. */
export const pxeArchitectures: ReadonlyMap<number, PxePlatform> = new Map([
  [0, bios],
  [6, ia32],
  [7, x64],
  // 9 means EBC, and many x64 firmwares send it.
  [9, x64],
  [10, arm32],
  [11, arm64],
  [15, ia32],
  [16, x64],
  [17, x64],
  [18, arm32],
  [19, arm64],
  [20, { name: 'x86 BIOS', arch: 'amd64', unserved: 'a BIOS that boots by HTTP has no boot program; let it boot by PXE' }],
  [21, { name: 'ARM32 U-Boot', unserved: no64 }],
  [22, arm64UBoot],
  [23, { name: 'ARM32 U-Boot', unserved: no64 }],
  [24, arm64UBoot],
  [25, riscV],
  [26, riscV],
  [27, riscV],
  [28, riscV],
]);
