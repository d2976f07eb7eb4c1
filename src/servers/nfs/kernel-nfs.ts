/** The kernel's NFS server, which is the machine's: we add a file of exports and take it away again, and start it if nobody has. */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';

export interface KernelNfsOptions {
  /** Of ours alone, in a directory that exportfs reads. */
  readonly exportsFile: string;
  /** Says that the server runs only because of us. It outlives a crash. */
  readonly startedFile: string;
  readonly run: (file: string, args: readonly string[]) => Promise<unknown>;
}

export const exportsFile = '/etc/exports.d/cardless.exports';
const unit = 'nfs-server.service';

export class KernelNfs {
  readonly #options: KernelNfsOptions;

  constructor(options: KernelNfsOptions) {
    this.#options = options;
  }

  /** @throws UserError when the server does not start */
  async start(exports: string): Promise<void> {
    const { run, startedFile } = this.#options;
    const isActive = await run('systemctl', ['is-active', '--quiet', unit]).then(
      () => true,
      () => false,
    );
    if (!isActive) {
      await mkdir(dirname(startedFile), { recursive: true });
      await writeFile(startedFile, `${unit}\n`);
      await run('systemctl', ['start', unit]);
    }
    await this.reload(exports);
  }

  async reload(exports: string): Promise<void> {
    const { exportsFile: file, run } = this.#options;
    await mkdir(dirname(file), { recursive: true });
    await writeFile(`${file}.new`, exports, { mode: 0o644 });
    await rename(`${file}.new`, file);
    await run('exportfs', ['-ra']);
  }

  /** What is left, of this run or of one that was killed. False when there was nothing. */
  async stop(): Promise<boolean> {
    const { exportsFile: file, startedFile, run } = this.#options;
    const [isThere, isOurs] = await Promise.all([file, startedFile].map(exists));
    if (isThere) {
      await rm(file, { force: true });
      await run('exportfs', ['-ra']);
    }
    if (isOurs) {
      await run('systemctl', ['stop', unit]);
      await rm(startedFile, { force: true });
    }
    return isThere === true || isOurs === true;
  }
}

function exists(file: string): Promise<boolean> {
  return readFile(file).then(
    () => true,
    () => false,
  );
}
