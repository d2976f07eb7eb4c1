/** Option 93, "Processor Architecture Types" (IANA registry; RFC 4578 section 2.1). */

import type { Architecture } from '../domain/image.ts';

export interface ArchitectureCode {
  readonly name: string;
  /** What runs on it in the end, where that is something that we have images for. */
  readonly runs?: Architecture;
}

export const architectureCodes: ReadonlyMap<number, ArchitectureCode> = new Map<number, ArchitectureCode>([
  [0, { name: 'x86 BIOS', runs: 'amd64' }],
  [1, { name: 'NEC PC-98' }],
  [2, { name: 'Itanium' }],
  [3, { name: 'DEC Alpha' }],
  [4, { name: 'Arc x86' }],
  [5, { name: 'Intel Lean Client' }],
  [6, { name: 'IA32 UEFI', runs: 'amd64' }],
  [7, { name: 'x64 UEFI', runs: 'amd64' }],
  [8, { name: 'XScale' }],
  // 9 means EBC, and many x64 firmwares send it.
  [9, { name: 'x64 UEFI', runs: 'amd64' }],
  [10, { name: 'ARM32 UEFI', runs: 'armhf' }],
  [11, { name: 'ARM64 UEFI', runs: 'arm64' }],
  [12, { name: 'PowerPC Open Firmware' }],
  [13, { name: 'PowerPC ePAPR' }],
  [14, { name: 'POWER OPAL v3' }],
  [15, { name: 'IA32 UEFI HTTP', runs: 'amd64' }],
  [16, { name: 'x64 UEFI HTTP', runs: 'amd64' }],
  [17, { name: 'EBC HTTP', runs: 'amd64' }],
  [18, { name: 'ARM32 UEFI HTTP', runs: 'armhf' }],
  [19, { name: 'ARM64 UEFI HTTP', runs: 'arm64' }],
  [20, { name: 'x86 BIOS HTTP', runs: 'amd64' }],
  [21, { name: 'ARM32 U-Boot', runs: 'armhf' }],
  [22, { name: 'ARM64 U-Boot', runs: 'arm64' }],
  [23, { name: 'ARM32 U-Boot HTTP', runs: 'armhf' }],
  [24, { name: 'ARM64 U-Boot HTTP', runs: 'arm64' }],
  [25, { name: 'RISC-V32 UEFI' }],
  [26, { name: 'RISC-V32 UEFI HTTP' }],
  [27, { name: 'RISC-V64 UEFI' }],
  [28, { name: 'RISC-V64 UEFI HTTP' }],
  [29, { name: 'RISC-V128 UEFI' }],
  [30, { name: 'RISC-V128 UEFI HTTP' }],
  [31, { name: 's390 basic' }],
  [32, { name: 's390 extended' }],
  [33, { name: 'MIPS32 UEFI' }],
  [34, { name: 'MIPS64 UEFI' }],
  [35, { name: 'Sunway32 UEFI' }],
  [36, { name: 'Sunway64 UEFI' }],
  [37, { name: 'LoongArch32 UEFI' }],
  [38, { name: 'LoongArch32 UEFI HTTP' }],
  [39, { name: 'LoongArch64 UEFI' }],
  [40, { name: 'LoongArch64 UEFI HTTP' }],
  [41, { name: 'ARM Raspberry Pi boot', runs: 'arm64' }],
]);

/** UEFI stacks from this code on mishandle menus in a proxy's offer; they ask port 4011 (dnsmasq rfc2131.c). */
export const firstUefiCode = 6;

/** The first code that is known, else the first one; undefined when the option is too short to hold any. */
export function firstKnownCode(option93: Buffer | undefined): number | undefined {
  if (option93 === undefined) {
    return undefined;
  }
  const codes = Array.from({ length: Math.floor(option93.length / 2) }, (_, index) => option93.readUInt16BE(index * 2));
  return codes.find((code) => architectureCodes.has(code)) ?? codes[0];
}
