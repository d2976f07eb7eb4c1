/**
 * What a node sees, read-only on the server: root and a copy of the overlay, merged. A record of each view is on disk
 * before anything is mounted, so it can be taken down by whoever comes later.
 *
 *   NODE/record.json   NODE/disk.img   NODE/root/   NODE/disk/
 */
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { isAbsolute, join, resolve } from 'node:path';
import { systemCode, UserError } from '../domain/errors.ts';
import { type ImageDigest, parseImageDigest } from '../domain/image.ts';
import type { NodeName } from '../domain/node.ts';
import { realPath } from '../process/real-path.ts';
import { run } from '../process/run.ts';
import {
  cannotMountRoot,
  mountRootFunction,
  notAFolder,
  overlayOptions,
  type RootImage,
  readOptions,
  requireLayersFunction,
} from './carry.ts';
import { namesIn, replaceFile } from './disk-file.ts';

export interface MountedView {
  readonly node: NodeName;
  readonly digest: ImageDigest;
  readonly directory: string;
  /** Snapshot that it shows; absent for the disk as it was when it was mounted. */
  readonly label?: string;
  readonly mountedAt: number;
}

export interface MountOptions extends MountedView {
  readonly root: RootImage;
  /** Writes a clean disk to this path. */
  readonly copyDisk: (to: string) => Promise<void>;
}

const script = `
root=$1 format=$2 place=$3 view=$4
${mountRootFunction}${requireLayersFunction}
mount_root "$root" "$format" "$place/root"
mount -t ext4 -o noload,${readOptions} "$place/disk.img" "$place/disk"
require_layers "$place/disk"
if [ -d "$place/disk/upper" ]; then
    mount -t overlay -o "ro,lowerdir=$place/disk/upper:$place/root,nodev,nosuid,${overlayOptions}" overlay "$view"
else
    mount --bind "$place/root" "$view"
fi
`;

export class MergedViews {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** After a reboot of this machine nothing is mounted any more, and what belonged to it goes. */
  async start(): Promise<void> {
    const mounted = await mountPoints();
    const directory = await realPath(this.#directory);
    for (const name of await namesIn(directory)) {
      const place = join(directory, name);
      if (![...mounted].some((point) => point.startsWith(`${place}/`))) {
        await rm(place, { recursive: true, force: true });
      }
    }
  }

  async of(node: NodeName): Promise<MountedView | undefined> {
    const text = await readFile(join(this.#directory, node, 'record.json'), 'utf8').catch((error: unknown) => {
      if (systemCode(error) === 'ENOENT') {
        return undefined;
      }
      throw error;
    });
    if (text === undefined) {
      return undefined;
    }
    const { node: _node, digest, ...rest } = JSON.parse(text) as MountedView;
    return { ...rest, node, digest: parseImageDigest(digest) };
  }

  /** @throws UserError already-exists, bad-input (the directory is not an empty one) */
  async mount({ root, copyDisk, ...wanted }: MountOptions): Promise<MountedView> {
    const { node } = wanted;
    const before = await this.of(node);
    if (before) {
      throw new UserError('already-exists', `${node} is mounted already, at ${before.directory}`, {
        hint: `cardless overlay unmount ${node} takes it down`,
      });
    }
    const directory = await emptyDirectory(wanted.directory);
    const view: MountedView = { ...wanted, directory };
    const place = join(this.#directory, node);
    await mkdir(join(place, 'root'), { recursive: true, mode: 0o700 });
    await mkdir(join(place, 'disk'), { recursive: true });
    try {
      await replaceFile(join(place, 'record.json'), (partial) => writeFile(partial, JSON.stringify(view)));
      await copyDisk(join(place, 'disk.img'));
      await run('sh', ['-ec', script, 'mount', root.file, root.format, place, directory]);
    } catch (error) {
      await this.#takeDown(view);
      const [, word, rest = ''] = error instanceof UserError ? (/^(cannot-mount-root|not-a-folder) (.*)$/m.exec(error.message) ?? []) : [];
      if (word === undefined) {
        throw error;
      }
      throw word === 'not-a-folder' ? notAFolder(rest) : cannotMountRoot(rest);
    }
    return view;
  }

  /** Also what an earlier run of the server mounted. @throws UserError not-found, in-use (somebody is in there) */
  async unmount(node: NodeName): Promise<MountedView> {
    const view = await this.of(node);
    if (!view) {
      throw new UserError('not-found', `${node} is not mounted`, { hint: `cardless overlay mount ${node} mounts it` });
    }
    await this.#takeDown(view);
    return view;
  }

  async #takeDown(view: MountedView): Promise<void> {
    const place = join(await realPath(this.#directory), view.node);
    for (const point of [await realPath(view.directory), join(place, 'disk'), join(place, 'root')]) {
      if ((await mountPoints()).has(point)) {
        await run('umount', [point]).catch((error: unknown) => {
          throw new UserError('in-use', `${point} cannot be unmounted, somebody uses it`, {
            cause: error,
            hint: `fuser -vm ${point} shows who; leave it and try again`,
          });
        });
      }
    }
    await rm(place, { recursive: true, force: true });
  }
}

/** @throws UserError bad-input */
export function viewDirectory(input: string): string {
  if (!isAbsolute(input)) {
    throw new UserError('bad-input', `"${input}" is not an absolute path`);
  }
  return resolve(input);
}

/** As mount points are named: without links. */
async function emptyDirectory(wanted: string): Promise<string> {
  await mkdir(wanted, { recursive: true });
  const directory = await realPath(wanted);
  if ((await readdir(directory)).length > 0 || (await mountPoints()).has(directory)) {
    throw new UserError('bad-input', `${directory} is not an empty directory`, { hint: 'Name another one; it is made if it is not there' });
  }
  return directory;
}

/** proc_pid_mountinfo(5): the fifth field, with blanks and backslashes in octal. */
async function mountPoints(): Promise<ReadonlySet<string>> {
  const lines = (await readFile('/proc/self/mountinfo', 'utf8')).split('\n');
  return new Set(
    lines.map((line) =>
      (line.split(' ')[4] ?? '').replaceAll(/\\(\d{3})/g, (_all, octal: string) => String.fromCharCode(Number.parseInt(octal, 8))),
    ),
  );
}
