/** The disks that persistent nodes write to: sparse ext4 files, one per node and image version. */
import { access, mkdir, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { ImageDigest } from '../domain/image.ts';
import type { NodeName } from '../domain/node.ts';
import { run } from '../process/run.ts';

export interface OverlayDisksOptions {
  readonly directory: string;
  /** Size that the node sees; the file takes only what was written. */
  readonly bytes: number;
}

export class OverlayDisks {
  readonly #directory: string;
  readonly #bytes: number;
  #templateMade: Promise<string> | undefined;

  constructor(options: OverlayDisksOptions) {
    this.#directory = options.directory;
    this.#bytes = options.bytes;
  }

  directoryOf(node: NodeName): string {
    return join(this.#directory, node);
  }

  pathOf(node: NodeName, digest: ImageDigest): string {
    return join(this.directoryOf(node), `${digest}.img`);
  }

  async exists(node: NodeName, digest: ImageDigest): Promise<boolean> {
    return await isThere(this.pathOf(node, digest));
  }

  /**
   * An empty disk in the place of whatever was there. The new file takes the old one's name by rename, so a node that
   * still runs on the old one keeps it, and a crash leaves either of the two.
   */
  async reset(node: NodeName, digest: ImageDigest): Promise<void> {
    const target = this.pathOf(node, digest);
    const partial = `${target}.partial`;
    await mkdir(this.directoryOf(node), { recursive: true, mode: 0o700 });
    // A UUID of its own, by which a client that reconnects recognises its disk.
    await run('cp', ['--sparse=always', '--reflink=auto', await this.#template(), partial]);
    await run('tune2fs', ['-f', '-U', 'random', partial]);
    const handle = await open(partial, 'r');
    await handle.sync();
    await handle.close();
    await rename(partial, target);
    const folder = await open(this.directoryOf(node), 'r');
    await folder.sync();
    await folder.close();
  }

  async remove(node: NodeName): Promise<void> {
    await rm(this.directoryOf(node), { recursive: true, force: true });
  }

  /** What the node's disks really take, in bytes. */
  async used(node: NodeName): Promise<number> {
    const names = await readdir(this.directoryOf(node)).catch(() => []);
    // A new disk takes its name by a rename while we look.
    const facts = await Promise.all(names.map((name) => stat(join(this.directoryOf(node), name)).catch(() => undefined)));
    const sizes = facts.map((file) => (file?.blocks ?? 0) * 512);
    return sizes.reduce((sum, size) => sum + size, 0);
  }

  /** Made once per size: copying 4 MB of a formatted disk is faster than formatting one. */
  async #template(): Promise<string> {
    this.#templateMade ??= this.#makeTemplate().catch((error: unknown) => {
      this.#templateMade = undefined;
      throw error;
    });
    return await this.#templateMade;
  }

  async #makeTemplate(): Promise<string> {
    const file = join(this.#directory, `template-${this.#bytes}.img`);
    if (!(await isThere(file))) {
      await mkdir(this.#directory, { recursive: true, mode: 0o700 });
      const partial = `${file}.partial`;
      await rm(partial, { force: true });
      await run('truncate', ['-s', String(this.#bytes), partial]);
      await run('mkfs.ext4', ['-q', '-F', '-m', '0', '-J', 'size=16', '-E', 'lazy_itable_init=1,lazy_journal_init=1,nodiscard', partial]);
      await rename(partial, file);
    }
    return file;
  }
}

async function isThere(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  );
}
