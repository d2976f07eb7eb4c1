/** A disk per node that survives every reimage: DIRECTORY/NODE/data.img. It outlives even its node, until it is named. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../domain/errors.ts';
import { isNodeName, type NodeName } from '../domain/node.ts';
import { DiskTemplates, growDisk, removePartials, statOf, Trash } from './disk-file.ts';
import { Reflinks } from './reflinks.ts';

export interface DataVolume {
  readonly usedBytes: number;
  readonly virtualBytes: number;
}

export class DataVolumes {
  readonly #directory: string;
  readonly #templates: DiskTemplates;
  readonly #trash: Trash;
  readonly #reflinks: Reflinks;

  constructor(directory: string) {
    this.#directory = directory;
    this.#templates = new DiskTemplates(directory);
    this.#trash = new Trash(join(directory, '.trash'));
    this.#reflinks = new Reflinks(directory);
  }

  async start(): Promise<void> {
    await removePartials(this.#directory);
    this.#trash.empty();
  }

  /** Does a copy of a volume take no space until one of them is written to? */
  async sharesBlocks(): Promise<boolean> {
    return await this.#reflinks.here();
  }

  get directory(): string {
    return this.#directory;
  }

  directoryOf(node: NodeName): string {
    return join(this.#directory, node);
  }

  pathOf(node: NodeName): string {
    return join(this.directoryOf(node), 'data.img');
  }

  async of(node: NodeName): Promise<DataVolume | undefined> {
    const found = await statOf(this.pathOf(node));
    return found && { usedBytes: Number(found.blocks) * 512, virtualBytes: Number(found.size) };
  }

  /** Nodes that have one here, registered or not. */
  async nodes(): Promise<NodeName[]> {
    const entries = await readdir(this.#directory, { withFileTypes: true }).catch(() => []);
    const names = entries
      .filter((entry) => entry.isDirectory())
      .map(({ name }) => name)
      .filter(isNodeName);
    const found = await Promise.all(names.map(async (name) => ((await this.of(name)) ? [name] : [])));
    return found.flat();
  }

  /** For the moment when nobody uses it: there, and at least this large. Gives what was done. */
  async ensure(node: NodeName, bytes: number): Promise<'made' | 'grown' | 'kept'> {
    const found = await this.of(node);
    if (!found) {
      await this.#templates.make(this.pathOf(node), bytes);
      return 'made';
    }
    if (found.virtualBytes >= bytes) {
      return 'kept';
    }
    await growDisk(this.pathOf(node), bytes);
    return 'grown';
  }

  /** @throws UserError not-found */
  async remove(node: NodeName): Promise<void> {
    if ((await this.of(node)) === undefined) {
      throw new UserError('not-found', `There is no data volume of "${node}"`);
    }
    await this.#trash.take(this.directoryOf(node));
  }
}
