/**
 * boot.sig, the text beside a boot.img that Raspberry Pi's bootloader checks (pi-netboot 2.7; rpi-eeprom-digest):
 *
 *     <SHA-256 of boot.img, hex>
 *     ts: <seconds since the epoch>
 *     rsa2048: <RSASSA-PKCS1-v1_5 with SHA-256 over boot.img, hex>
 */
export interface BootSignature {
  readonly sha256: Buffer;
  readonly seconds: number;
  readonly rsa2048: Buffer;
}

export function encodeBootSignature({ sha256, seconds, rsa2048 }: BootSignature): string {
  return `${sha256.toString('hex')}\nts: ${Math.floor(seconds)}\nrsa2048: ${rsa2048.toString('hex')}\n`;
}
