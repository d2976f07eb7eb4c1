/** What a kernel can read, by its version as in `uname -r`. Pure. */

/** erofs as we pack it has parts that Linux 5.17 was the first to read (fs/erofs: ztailpacking). */
export function readsErofs(kernelVersion: string): boolean {
  return isAtLeast(kernelVersion, 5, 17);
}

/** Of an initramfs: Linux 5.9 was the first to have RD_ZSTD (usr/Kconfig). */
export function readsZstd(kernelVersion: string): boolean {
  return isAtLeast(kernelVersion, 5, 9);
}

function isAtLeast(kernelVersion: string, wantedMajor: number, wantedMinor: number): boolean {
  const [major = 0, minor = 0] = kernelVersion.split('.').map((part) => Number.parseInt(part, 10));
  return major > wantedMajor || (major === wantedMajor && minor >= wantedMinor);
}
