/**
 * Named paths of a node's old version, as the node saw them, put into the disk of its new version. Both are mounted in
 * mount and process name spaces of their own, so nothing stays mounted however this ends.
 */

import { UserError } from '../domain/errors.ts';
import type { RootPath } from '../domain/overlay.ts';
import { containedCommand, run } from '../process/run.ts';

export interface RootImage {
  readonly file: string;
  readonly format: 'erofs' | 'squashfs';
}

export interface CarryOptions {
  readonly from: { readonly root: RootImage; readonly disk: string };
  readonly to: { readonly root: RootImage; readonly disk: string };
  readonly paths: readonly RootPath[];
  /** An empty directory to mount at. */
  readonly work: string;
}

/** As our initramfs mounts it: nothing that ties an upper layer to inode numbers of the lower one. */
export const overlayOptions = 'redirect_dir=off,metacopy=off,index=off,xino=off';
/** What a node wrote is data here and nothing else. */
const dataOnly = 'nodev,nosuid,noexec';
/**
 * Of a disk that is read and of one that is written to. Without, the superblock, which the node wrote, could ask for a
 * panic of this machine's kernel when it finds an error (ext4(5)).
 */
export const readOptions = `ro,loop,errors=continue,${dataOnly}`;
const writeOptions = `loop,errors=remount-ro,${dataOnly}`;

/** Mounts a root; `$1` file, `$2` format, `$3` directory. Kernels without erofs do it through FUSE. */
export const mountRootFunction = `
mount_root() {
    mount -t "$2" -o ro,loop,${dataOnly} "$1" "$3" 2>/dev/null && return
    case $2 in erofs) fuse=erofsfuse ;; *) fuse=squashfuse ;; esac
    command -v "$fuse" >/dev/null || { echo "cannot-mount-root $2 $fuse"; exit 3; }
    "$fuse" "$1" "$3" >/dev/null
}
`;

/**
 * Root on a node writes what it likes to its disk: a link there would make this machine's own files the layer. `$1` is
 * where the disk is mounted.
 */
export const requireLayersFunction = `
require_layers() {
    for folder in upper work; do
        [ ! -L "$1/$folder" ] && { [ -d "$1/$folder" ] || [ ! -e "$1/$folder" ]; } || { echo "not-a-folder $folder"; exit 6; }
    done
}
`;

/**
 * A link in the middle of a path could lead out of the node's root and into the server's own files, so a path that has
 * one is refused, in the old root and in the new one.
 */
const script = `
work=$1 old_root=$2 old_format=$3 old_disk=$4 new_root=$5 new_format=$6 new_disk=$7
shift 7
${mountRootFunction}${requireLayersFunction}
mount -t tmpfs -o mode=0700 carry "$work"
for side in old new; do mkdir "$work/$side" "$work/$side/root" "$work/$side/disk" "$work/$side/view"; done
mount_root "$old_root" "$old_format" "$work/old/root"
mount_root "$new_root" "$new_format" "$work/new/root"
mount -t ext4 -o ${readOptions} "$old_disk" "$work/old/disk"
mount -t ext4 -o ${writeOptions} "$new_disk" "$work/new/disk"
for side in old new; do
    disk=$work/$side/disk
    require_layers "$disk"
    [ $side = old ] || mkdir -p "$disk/upper" "$disk/work"
    [ $side = old ] || chmod 755 "$disk/upper"
    if [ $side = new ]; then layers="lowerdir=$work/new/root,upperdir=$disk/upper,workdir=$disk/work"
    elif [ -d "$disk/upper" ]; then layers="lowerdir=$disk/upper:$work/old/root"
    else mount --bind "$work/old/root" "$work/old/view"; continue; fi
    mount -t overlay -o "$layers,${overlayOptions}" overlay "$work/$side/view"
done
for path in "$@"; do
    rest=$path at=
    [ -e "$work/old/view/$path" ] || [ -L "$work/old/view/$path" ] || { echo "missing $path"; exit 4; }
    while [ "$rest" != "\${rest#*/}" ]; do
        at=$at/\${rest%%/*} rest=\${rest#*/}
        for side in old new; do
            [ ! -L "$work/$side/view$at" ] || { echo "link $at"; exit 5; }
        done
    done
done
cd "$work/old/view"
for path in "$@"; do rm -rf -- "$work/new/view/$path"; done
cp -a --parents -- "$@" "$work/new/view/"
cd /
umount "$work/new/view"
umount "$work/new/disk"
`;

/** What is at a path in the new version gives way to what the old one has there, with owners, times and attributes. @throws UserError */
export async function carryPaths({ from, to, paths, work }: CarryOptions): Promise<void> {
  const facts = [work, from.root.file, from.root.format, from.disk, to.root.file, to.root.format, to.disk];
  try {
    await run(...containedCommand('sh', ['-ec', script, 'carry', ...facts, ...paths]));
  } catch (error) {
    throw error instanceof UserError ? asCarryError(error) : error;
  }
}

function asCarryError(error: UserError): UserError {
  const [, word, rest = ''] = /^(missing|link|not-a-folder|cannot-mount-root) (.*)$/m.exec(error.message) ?? [];
  switch (word) {
    case 'missing':
      return new UserError('not-found', `There is no /${rest} to carry over`, { hint: 'Name what the node has: files or folders' });
    case 'link':
      return new UserError('bad-input', `${rest} is a symbolic link, so what is below it is not carried over`, {
        hint: 'Name the place that the link leads to',
      });
    case 'not-a-folder':
      return notAFolder(rest);
    case 'cannot-mount-root':
      return cannotMountRoot(rest);
    default:
      return error;
  }
}

export function notAFolder(name: string): UserError {
  return new UserError('bad-input', `/${name} of the overlay is not a folder`, {
    hint: 'No node of ours leaves a disk like this; see what wrote to it before the node is trusted again',
  });
}

export function cannotMountRoot(words: string): UserError {
  const [format = '', program = ''] = words.split(' ');
  return new UserError('unavailable', `The kernel of this machine cannot mount ${format}`, {
    hint: `modprobe ${format}, or install ${program}`,
  });
}
