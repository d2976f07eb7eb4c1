/** What makes a node this node: kept by the server, so that it survives every reimage. */
import { createHash, randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
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

export interface NodeIdentity extends HostKey {
  /** 32 hex digits (machine-id(5)). */
  readonly machineId: string;
}

/** What the machine ids of nodes were made of before they were drawn. */
type OldIdentity = Pick<Node, 'name' | 'serial' | 'macs'>;

const machineIdFile = 'machine-id';

export class HostKeys {
  readonly #directory: string;
  readonly #making = new Map<NodeName, Promise<NodeIdentity>>();

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Drawn at the first call and the same from then on, whatever board the node is. */
  async of(node: OldIdentity): Promise<NodeIdentity> {
    // Two boots that ask at once must get one identity.
    let making = this.#making.get(node.name);
    if (!making) {
      making = this.#knownOrMade(node).finally(() => this.#making.delete(node.name));
      this.#making.set(node.name, making);
    }
    return await making;
  }

  async known(node: NodeName): Promise<HostKey | undefined> {
    return await this.#read(node);
  }

  /** Nodes that booted before machine ids were drawn keep theirs, also when their boards are replaced. */
  async keepMachineIds(nodes: readonly OldIdentity[]): Promise<void> {
    for (const node of nodes) {
      if (await this.#read(node.name)) {
        await this.of(node);
      }
    }
  }

  async remove(node: NodeName): Promise<void> {
    await rm(join(this.#directory, node), { recursive: true, force: true });
  }

  async #knownOrMade(node: OldIdentity): Promise<NodeIdentity> {
    const key = await this.#read(node.name);
    if (!key) {
      return await this.#make(node.name);
    }
    const known = await this.#readMachineId(node.name);
    if (known !== undefined) {
      return { ...key, machineId: known };
    }
    const machineId = earlierMachineId(node);
    const file = join(this.#directory, node.name, machineIdFile);
    await writeFile(`${file}.partial`, `${machineId}\n`);
    await syncPath(`${file}.partial`);
    await rename(`${file}.partial`, file);
    await syncPath(join(this.#directory, node.name));
    return { ...key, machineId };
  }

  async #readMachineId(node: NodeName): Promise<string | undefined> {
    const text = await readFile(join(this.#directory, node, machineIdFile), 'utf8').catch((error: unknown) => {
      if (systemCode(error) !== 'ENOENT') {
        throw error;
      }
    });
    return /^[0-9a-f]{32}$/m.exec(text ?? '')?.[0];
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

  async #make(node: NodeName): Promise<NodeIdentity> {
    const partial = join(this.#directory, `${node}.partial`);
    await rm(partial, { recursive: true, force: true });
    await mkdir(partial, { recursive: true, mode: 0o700 });
    await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', node, '-f', join(partial, 'ssh_host_ed25519_key')]);
    const machineId = randomBytes(16).toString('hex');
    await writeFile(join(partial, machineIdFile), `${machineId}\n`);
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
    return { ...key, machineId };
  }
}

function earlierMachineId(node: OldIdentity): string {
  const identity = node.serial ?? node.macs[0] ?? node.name;
  return createHash('sha256').update(`cardless machine-id ${identity}`).digest('hex').slice(0, 32);
}
