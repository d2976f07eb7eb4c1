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

export type BootPrograms = Readonly<Record<UefiLoader, string>>;

const bios: BootPrograms = { ipxe: 'undionly.kpxe', grub: 'undionly.kpxe' };
const x64: BootPrograms = { ipxe: 'ipxe.efi', grub: 'shimx64.efi' };
const arm64: BootPrograms = { ipxe: 'ipxe-arm64.efi', grub: 'shimaa64.efi' };

/** By option 93: what this firmware fetches first, as a name in boot-assets/programs.json. */
export const bootPrograms: ReadonlyMap<number, BootPrograms> = new Map([
  [0, bios],
  [7, x64],
  [9, x64],
  [11, arm64],
  [16, x64],
  [17, x64],
  [19, arm64],
]);

/**
 * What calls itself PXEClient and sends no option 97, which PXE 2.1 wants of every client, is U-Boot's EFI boot. It takes an
 * offer without an address for a lease (net/bootp.c, 2023.01). Under its EFI iPXE 1.21.1 hangs before its first DHCP, and
 * shim finds no device to load GRUB from.
 */
export const ubootPrograms: ReadonlyMap<number, string> = new Map([[11, 'grubaa64.efi']]);

const only64 = 'its firmware is 32-bit; kernels and boot programs are 64-bit';
const noImage = 'there are no images for RISC-V';

/** By option 93: why some firmware gets nothing, for people. */
export const unservedReasons: ReadonlyMap<number, string> = new Map([
  ...[6, 10, 15, 18, 21, 23].map((code) => [code, only64] as const),
  [20, 'a BIOS that boots by HTTP has no boot program; let it boot by PXE'],
  ...[25, 26, 27, 28, 29, 30].map((code) => [code, noImage] as const),
]);

/** UUIDs that makers left in their BIOS: many machines have them, so they name none. In hex, as in option 97. */
export const sharedUuids: ReadonlySet<string> = new Set([
  '00000000000000000000000000000000',
  'ffffffffffffffffffffffffffffffff',
  // The sample value of AMI's BIOS kit, in both byte orders.
  '03000200040005000006000700080009',
  '00020003000400050006000700080009',
]);
