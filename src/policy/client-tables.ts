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

/** Option 93 (IANA "Processor Architecture Types"): what we can boot, and with which file from boot-assets. */
export const pxeArchitectures: ReadonlyMap<number, { readonly name: string; readonly bootFile: string }> = new Map([
  [0, { name: 'x86 BIOS', bootFile: 'undionly.kpxe' }],
  [7, { name: 'x64 UEFI', bootFile: 'ipxe.efi' }],
  // 9 means EBC, and many x64 firmwares send it.
  [9, { name: 'x64 UEFI', bootFile: 'ipxe.efi' }],
]);
