/** The kernel's NFS server, which is the machine's: we add a file of exports and take it away again, and start it if nobody has. */
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { UserError } from '../../domain/errors.ts';
import { machineBootId } from '../../process/boot-id.ts';

export interface KernelNfsOptions {
  /** Of ours alone, in a directory that exportfs reads. */
  readonly exportsFile: string;
  /** The state folder: another server of ours on this machine has another one. */
  readonly owner: string;
  /** Says that the server runs only because of us. It outlives a crash of ours; another start of the machine has its own server. */
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

  /** @throws UserError when the server does not start, or the file is that of another one */
  async start(exports: string): Promise<void> {
    const { run, startedFile, exportsFile: file } = this.#options;
    const text = await textOf(file);
    if (text !== undefined && !this.#isOurs(text)) {
      throw new UserError('in-use', `${file} is that of somebody else: ${text.split('\n')[0]}`, {
        hint: 'Only one server on a machine can export by nfs-server. If that one is gone, remove the file',
      });
    }
    const isActive = await run('systemctl', ['is-active', '--quiet', unit]).then(
      () => true,
      () => false,
    );
    if (!isActive) {
      await mkdir(dirname(startedFile), { recursive: true });
      await writeFile(startedFile, await machineBootId());
      await run('systemctl', ['start', unit]);
    }
    await this.reload(exports);
  }

  async reload(exports: string): Promise<void> {
    const { exportsFile: file, run } = this.#options;
    await mkdir(dirname(file), { recursive: true });
    await writeFile(`${file}.new`, `${this.#header()}\n${exports}`, { mode: 0o644 });
    await rename(`${file}.new`, file);
    await run('exportfs', ['-ra']);
  }

  /** What is left, of this run or of one that was killed. False when there was nothing. */
  async stop(): Promise<boolean> {
    const { exportsFile: file, startedFile, run } = this.#options;
    const text = await textOf(file);
    const isThere = text !== undefined && this.#isOurs(text);
    const isOurs = (await textOf(startedFile)) === (await machineBootId());
    if (isThere) {
      await rm(file, { force: true });
      await run('exportfs', ['-ra']);
    }
    if (isOurs) {
      await run('systemctl', ['stop', unit]);
    }
    await rm(startedFile, { force: true });
    return isThere || isOurs;
  }

  #header(): string {
    return `# Written by Cardless, whose state is in ${this.#options.owner}, and taken away when its shared directory is switched off.`;
  }

  #isOurs(text: string): boolean {
    return text.startsWith(this.#header());
  }
}

function textOf(file: string): Promise<string | undefined> {
  return readFile(file, 'utf8').catch(() => undefined);
}
