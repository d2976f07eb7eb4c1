/** What is in an image, for comparing versions and for looking at one before its first boot. */

export type EntryType = 'file' | 'directory' | 'link' | 'device' | 'fifo' | 'socket';

export interface ContentEntry {
  /** `/etc/hosts` in the root, `boot/kernel8.img` among the boot files. */
  readonly path: string;
  readonly type: EntryType;
  /** Permission bits, set-user-ID and the like included. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Of files. */
  readonly bytes?: number;
  readonly sha256?: string;
  /** Of links: where to. Of devices: which. */
  readonly target?: string;
}

export interface InstalledPackage {
  /** With the architecture where several may be installed: `libc6:arm64`. */
  readonly name: string;
  readonly version: string;
}

/** A kernel whose modules are in the root. Names are as lsmod has them: with underscores. */
export interface KernelModules {
  readonly version: string;
  readonly modules: readonly string[];
  readonly builtin: readonly string[];
}

export interface ImageContents {
  /** In order of path. */
  readonly entries: readonly ContentEntry[];
  /** In order of name; empty where the root has no list that we can read. */
  readonly packages: readonly InstalledPackage[];
  readonly kernels: readonly KernelModules[];
}

export type EntryChange = 'type' | 'content' | 'target' | 'mode' | 'owner';

export interface ImageDiff {
  readonly packages: {
    readonly added: readonly InstalledPackage[];
    readonly removed: readonly InstalledPackage[];
    readonly changed: readonly { readonly name: string; readonly from: string; readonly to: string }[];
  };
  readonly files: {
    readonly added: readonly ContentEntry[];
    readonly removed: readonly ContentEntry[];
    readonly changed: readonly { readonly path: string; readonly what: readonly EntryChange[] }[];
  };
  /** How many more of each there are than are listed. */
  readonly notListed: { readonly added: number; readonly removed: number; readonly changed: number };
}

/** What kind of processor a kernel file is for. */
export type KernelFormat = 'arm64' | 'arm' | 'x86' | 'unknown';
