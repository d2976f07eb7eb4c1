/** What makes a node this node: kept by the server, so that it survives every reimage. */
import { createHash } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { systemCode } from '../domain/errors.ts';
import type { Node, NodeName } from '../domain/node.ts';
import { run } from '../process/run.ts';
import { syncPath } from '../process/sync-path.ts';

export interface HostKey {
  readonly privateKey: string;
  /** One line, as in ssh_host_ed25519_key.pub. */
  readonly publicKey: string;
}

export class HostKeys {
  readonly #directory: string;
  readonly #making = new Map<NodeName, Promise<HostKey>>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Made at the first call and the same from then on. */
  async of(node: NodeName): Promise<HostKey> {
    const known = await this.#read(node);
    if (known) {
      return known;
    }
    // Two boots that ask at once must get one key.
    let making = this.#making.get(node);
    if (!making) {
      making = this.#make(node).finally(() => this.#making.delete(node));
      this.#making.set(node, making);
    }
    return await making;
  }

  async known(node: NodeName): Promise<HostKey | undefined> {
    return await this.#read(node);
  }

  async remove(node: NodeName): Promise<void> {
    await rm(join(this.#directory, node), { recursive: true, force: true });
  }

  async #read(node: NodeName): Promise<HostKey | undefined> {
    try {
      const file = join(this.#directory, node, 'ssh_host_ed25519_key');
      const [privateKey, publicKey] = await Promise.all([readFile(file, 'utf8'), readFile(`${file}.pub`, 'utf8')]);
      // A power cut may have left files without content.
      return privateKey === '' || publicKey === '' ? undefined : { privateKey, publicKey: publicKey.trim() };
    } catch (error) {
      if (systemCode(error) === 'ENOENT') {
        return undefined;
      }
      throw error;
    }
  }

  async #make(node: NodeName): Promise<HostKey> {
    const partial = join(this.#directory, `${node}.partial`);
    await rm(partial, { recursive: true, force: true });
    await mkdir(partial, { recursive: true, mode: 0o700 });
    await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', node, '-f', join(partial, 'ssh_host_ed25519_key')]);
    for (const path of [...(await readdir(partial)).map((name) => join(partial, name)), partial]) {
      await syncPath(path);
    }
    await rm(join(this.#directory, node), { recursive: true, force: true });
    await rename(partial, join(this.#directory, node));
    await syncPath(this.#directory);
    const key = await this.#read(node);
    if (!key) {
      throw new Error(`ssh-keygen made no key for ${node}`);
    }
    return key;
  }
}

/** 32 hex digits (machine-id(5)), the same at every boot and after every reimage. */
export function machineId(node: Node): string {
  const identity = node.serial ?? node.macs[0] ?? node.name;
  return createHash('sha256').update(`cardless machine-id ${identity}`).digest('hex').slice(0, 32);
}
