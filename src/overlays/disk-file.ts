/** ext4 in sparse files: made, copied, checked and grown without ever being half of anything under its own name. */
import { mkdir, readdir, rename, rm, stat, truncate, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { systemCode, UserError } from '../domain/errors.ts';
import { mortalCommand, run } from '../process/run.ts';
import { syncPath } from '../process/sync-path.ts';
import { checkDisk } from './check-disk.ts';

/** Names that end so are of things that were not finished; a start removes them. */
const partialSuffix = '.partial';
/** How far resize2fs can grow a disk without moving what is on it. More would be reserved in every new disk. */
const growthFactor = 16;

/** A sync of the whole file system also waits for what others wrote there. */
const manyFiles = 8;
const batchSize = 64;
const copiesAtOnce = 2;

/** Pairs of template and copy. A UUID of its own is that by which a client that reconnects recognises its disk. */
const copyScript = `
while [ $# -gt 0 ]; do
    cp --sparse=always --reflink=auto -- "$1" "$2"
    tune2fs -f -U random "$2" >/dev/null
    shift 2
done
`;

interface WantedCopy {
  readonly template: string;
  readonly partial: string;
  readonly resolve: () => void;
  readonly reject: (error: unknown) => void;
}

/** Makes new disks as copies of one formatted file for each size: copying 200 kB is faster than formatting. */
export class DiskTemplates {
  readonly #directory: string;
  readonly #made = new Map<number, Promise<string>>();
  // BOUNDED: by those who wait for it, which is a boot or an operator's request each.
  readonly #wanted: WantedCopy[] = [];
  #running = 0;
  readonly #sync: (path: string) => Promise<void>;

  constructor(directory: string) {
    this.#directory = directory;
    const shared = new SharedSync(directory);
    this.#sync = (path) => shared.sync(path);
  }

  /** An empty disk under this name, in the place of what was there. On disk when it returns. */
  async make(target: string, bytes: number, prepare: (partial: string) => Promise<void> = async () => {}): Promise<void> {
    const template = await this.#template(bytes);
    await replaceFile(
      target,
      async (partial) => {
        await this.#copy(template, partial);
        await prepare(partial);
      },
      this.#sync,
    );
  }

  /** Of many that are wanted at once, several are made by one program: to start one takes longer than to copy a disk. */
  async #copy(template: string, partial: string): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#wanted.push({ template, partial, resolve, reject });
    if (this.#running < copiesAtOnce) {
      this.#running += 1;
      void this.#makeWanted().finally(() => {
        this.#running -= 1;
      });
    }
    await promise;
  }

  async #makeWanted(): Promise<void> {
    // Whoever asks in the same turn of the event loop goes along.
    await new Promise((resolve) => setImmediate(resolve));
    for (let batch = this.#wanted.splice(0, batchSize); batch.length > 0; batch = this.#wanted.splice(0, batchSize)) {
      const words = batch.flatMap(({ template, partial }) => [template, partial]);
      try {
        await run(...mortalCommand('sh', ['-ec', copyScript, 'copy', ...words]));
        for (const { resolve } of batch) {
          resolve();
        }
      } catch (error) {
        for (const { reject } of batch) {
          reject(error);
        }
      }
    }
  }

  async #template(bytes: number): Promise<string> {
    const made = this.#made.get(bytes) ?? this.#make(bytes);
    this.#made.set(bytes, made);
    try {
      return await made;
    } catch (error) {
      this.#made.delete(bytes);
      throw error;
    }
  }

  async #make(bytes: number): Promise<string> {
    // Another layout has another name, so that a template of an earlier version is not taken for one of ours.
    const file = join(this.#directory, `template-2-${bytes}.img`);
    if ((await statOf(file)) === undefined) {
      await replaceFile(file, async (partial) => {
        await run('truncate', ['-s', String(bytes), partial]);
        // The seed of the checksums is kept apart from the UUID, so that a copy gets another UUID without being rewritten.
        const features = ['-O', 'metadata_csum,64bit,metadata_csum_seed', '-m', '0', '-J', 'size=16'];
        const extended = `lazy_itable_init=1,lazy_journal_init=1,nodiscard,resize=${Math.floor((bytes / 4096) * growthFactor)}`;
        await run(...mortalCommand('mkfs.ext4', ['-q', '-F', '-b', '4096', ...features, '-E', extended, partial]));
      });
    }
    return file;
  }
}

/** A reflink where the file system has them, else a copy of what is not a hole. */
export async function copySparse(from: string, to: string, signal?: AbortSignal): Promise<void> {
  await run(...mortalCommand('cp', ['--sparse=always', '--reflink=auto', '--', from, to]), signal ? { signal } : {});
}

/** Does a copy take no space of its own here? */
export async function canReflink(directory: string): Promise<boolean> {
  await mkdir(directory, { recursive: true, mode: 0o700 });
  const [from, to] = [join(directory, `reflink-from${partialSuffix}`), join(directory, `reflink-to${partialSuffix}`)];
  try {
    await writeFile(from, 'a copy of this');
    return await run('cp', ['--reflink=always', from, to]).then(
      () => true,
      () => false,
    );
  } finally {
    await Promise.all([from, to].map((file) => rm(file, { force: true })));
  }
}

/** A UUID of its own, by which a client that reconnects recognises its disk. */
export async function newIdentity(disk: string): Promise<void> {
  await run(...mortalCommand('tune2fs', ['-f', '-U', 'random', disk]));
}

/** Grows a copy and puts it in the disk's place, so that a crash leaves the one or the other. @throws UserError */
export async function growDisk(disk: string, bytes: number): Promise<void> {
  await replaceFile(disk, async (partial) => {
    await copySparse(disk, partial);
    await truncate(partial, bytes);
    const { ok, result } = await checkDisk(partial, { full: true });
    if (!ok) {
      throw new UserError('failed', `A disk that is damaged cannot be grown: ${result}`);
    }
    await run(...mortalCommand('resize2fs', [partial]));
  });
}

/** `write` makes the file under a temporary name; it appears under its own name when all of it is on disk. */
export async function replaceFile(
  target: string,
  write: (partial: string) => Promise<void>,
  sync: (path: string) => Promise<void> = syncPath,
): Promise<void> {
  const partial = `${target}${partialSuffix}`;
  await mkdir(dirname(target), { recursive: true, mode: 0o700 });
  await rm(partial, { force: true });
  try {
    await write(partial);
    await sync(partial);
    await rename(partial, target);
  } catch (error) {
    await rm(partial, { force: true });
    throw error;
  }
  await sync(dirname(target));
}

/** `undefined` when it is not there. */
export async function statOf(file: string): Promise<Awaited<ReturnType<typeof stat>> | undefined> {
  return await stat(file).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') {
      return undefined;
    }
    throw error;
  });
}

export async function namesIn(directory: string): Promise<string[]> {
  return await readdir(directory).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') {
      return [];
    }
    throw error;
  });
}

/** Files and folders that are to be on disk: one by one when they are few, the whole file system at once when they are many. */
class SharedSync {
  readonly #directory: string;
  // BOUNDED: by those who wait for it.
  #waiting: { readonly path: string; readonly resolve: () => void; readonly reject: (error: unknown) => void }[] = [];
  #isRunning = false;

  constructor(directory: string) {
    this.#directory = directory;
  }

  async sync(path: string): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#waiting.push({ path, resolve, reject });
    if (!this.#isRunning) {
      this.#isRunning = true;
      void this.#run();
    }
    await promise;
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      await new Promise((resolve) => setImmediate(resolve));
      const batch = this.#waiting;
      this.#waiting = [];
      try {
        await (batch.length < manyFiles ? Promise.all(batch.map(({ path }) => syncPath(path))) : run('sync', ['-f', this.#directory]));
        for (const { resolve } of batch) {
          resolve();
        }
      } catch (error) {
        for (const { reject } of batch) {
          reject(error);
        }
      }
    }
    this.#isRunning = false;
  }
}

/** Deletes by renaming: the blocks of a large file are given back when there is time for it. */
export class Trash {
  readonly #directory: string;
  #next = 0;
  #emptying: Promise<void> = Promise.resolve();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** It is gone from where it was when this returns; what is not there is gone already. */
  async take(path: string): Promise<void> {
    await mkdir(this.#directory, { recursive: true, mode: 0o700 });
    this.#next += 1;
    try {
      await rename(path, join(this.#directory, `${process.pid}-${this.#next}-${basename(path)}`));
    } catch (error) {
      if (systemCode(error) === 'ENOENT') {
        return;
      }
      throw error;
    }
    await syncPath(dirname(path));
    this.empty();
  }

  /** Goes on in the background, one after another. */
  empty(): void {
    this.#emptying = this.#emptying.then(() => this.#emptyNow()).catch(() => {});
  }

  async emptied(): Promise<void> {
    await this.#emptying;
  }

  async #emptyNow(): Promise<void> {
    for (const name of await namesIn(this.#directory)) {
      await rm(join(this.#directory, name), { recursive: true, force: true });
    }
  }
}

/** What a crash left half-made below `directory`, one folder deep. */
export async function removePartials(directory: string): Promise<void> {
  const entries = await readdir(directory, { recursive: true }).catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') {
      return [];
    }
    throw error;
  });
  await Promise.all(entries.filter((name) => name.endsWith(partialSuffix)).map((name) => rm(join(directory, name), { force: true })));
}
