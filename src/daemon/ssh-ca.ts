/** The authority of this cluster: who trusts its one key knows every node, and every node who may log in. */
import { mkdir, mkdtemp, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { systemCode } from '../domain/errors.ts';
import { run } from '../process/run.ts';
import { syncPath } from '../process/sync-path.ts';

const hostDays = 3650;

export class SshCa {
  readonly #key: string;
  #making: Promise<void> | undefined;

  /** @param directory where its key is kept; made at the first use */
  constructor(directory: string) {
    this.#key = join(directory, 'ssh_ca_ed25519_key');
  }

  /** One line. */
  async publicKey(): Promise<string> {
    await this.#ensure();
    return (await readFile(`${this.#key}.pub`, 'utf8')).trim();
  }

  /** For a long time: every boot of the node gives it another. */
  async signHost(publicKey: string, names: readonly string[]): Promise<string> {
    return await this.#sign(publicKey, ['-h', '-n', names.join(','), '-I', names[0] ?? 'host', '-V', `always:+${hostDays}d`]);
  }

  /** From always: clocks of boards without a battery are behind. */
  async signUser(publicKey: string, principals: readonly string[], seconds: number): Promise<string> {
    return await this.#sign(publicKey, ['-n', principals.join(','), '-I', 'cardless', '-V', `always:+${seconds}s`]);
  }

  async #sign(publicKey: string, options: readonly string[]): Promise<string> {
    await this.#ensure();
    const work = await mkdtemp(join(tmpdir(), 'cardless-ca-'));
    try {
      await writeFile(join(work, 'key.pub'), `${publicKey}\n`);
      await run('ssh-keygen', ['-q', '-s', this.#key, ...options, join(work, 'key.pub')]);
      return (await readFile(join(work, 'key-cert.pub'), 'utf8')).trim();
    } finally {
      await rm(work, { recursive: true, force: true });
    }
  }

  async #ensure(): Promise<void> {
    const known = await readFile(`${this.#key}.pub`, 'utf8').catch((error: unknown) => {
      if (systemCode(error) !== 'ENOENT') {
        throw error;
      }
      return '';
    });
    if (known === '') {
      this.#making ??= this.#make().finally(() => {
        this.#making = undefined;
      });
      await this.#making;
    }
  }

  async #make(): Promise<void> {
    const directory = dirname(this.#key);
    await mkdir(directory, { recursive: true, mode: 0o700 });
    const partial = `${this.#key}.partial`;
    await rm(partial, { force: true });
    await rm(`${partial}.pub`, { force: true });
    await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'cardless', '-f', partial]);
    await syncPath(partial);
    await syncPath(`${partial}.pub`);
    // The public half last: it says that all is there.
    await rename(partial, this.#key);
    await rename(`${partial}.pub`, `${this.#key}.pub`);
    await syncPath(directory);
  }
}
