/** Bytes that the server draws once, and that nobody but a node that boots is given. */
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { z } from 'zod';
import type { Clock } from '../domain/clock.ts';
import { systemCode, UserError } from '../domain/errors.ts';
import type { Node, NodeName } from '../domain/node.ts';
import type { Secret } from '../domain/node-settings.ts';
import type { SeedFile } from '../policy/seed-file.ts';
import { syncPath } from '../process/sync-path.ts';

/** A file of one. */
const Drawn = z.object({ id: z.string(), at: z.number(), bytes: z.base64() });
type Drawn = z.infer<typeof Drawn>;

export interface SecretView {
  readonly name: string;
  readonly scope: Secret['scope'];
  /** Of those of scope `node`. */
  readonly node?: string;
  /** When it was drawn; absent: at the next boot that wants it. */
  readonly at?: number;
}

export class NodeSecrets {
  readonly #directory: string;
  readonly #clock: Pick<Clock, 'now'>;
  // BOUNDED: by the settings of registered nodes; of a secret, only when it was drawn and as which draw.
  readonly #known = new Map<string, Pick<Drawn, 'id' | 'at'>>();
  readonly #drawing = new Map<string, Promise<Drawn>>();

  constructor(directory: string, clock: Pick<Clock, 'now'>) {
    this.#directory = directory;
    this.#clock = clock;
  }

  /** Looks at what was drawn before. */
  async start(): Promise<void> {
    const names = await readdir(this.#directory, { recursive: true, withFileTypes: true }).catch((error: unknown) => {
      if (systemCode(error) !== 'ENOENT') {
        throw error;
      }
      return [];
    });
    for (const entry of names.filter((one) => one.isFile() && one.name.endsWith('.json'))) {
      const file = join(entry.parentPath, entry.name);
      const drawn = await this.#read(file);
      if (drawn) {
        this.#known.set(file, { id: drawn.id, at: drawn.at });
      }
    }
  }

  /** Tells one draw from another, and nothing of the bytes. */
  drawOf(secret: Secret, node: NodeName): string | undefined {
    return this.#known.get(this.#fileOf(secret, node))?.id;
  }

  /** What a node that boots is given. */
  async filesFor({ name, settings: { secrets = [] } }: Node): Promise<SeedFile[]> {
    return await Promise.all(
      secrets.map(async (secret) => {
        const bytes = await this.#bytesOf(secret, name);
        return {
          path: secret.path.slice(1),
          mode: Number.parseInt(secret.mode ?? '0600', 8),
          bytes: secret.encoding === 'raw' ? bytes : Buffer.from(bytes.toString(secret.encoding)),
          own: true as const,
          ...(secret.owner === undefined ? {} : { owner: secret.owner }),
        };
      }),
    );
  }

  list(nodes: readonly Node[]): SecretView[] {
    const views = new Map<string, SecretView>();
    for (const { name: node, settings } of nodes) {
      for (const secret of settings.secrets ?? []) {
        const file = this.#fileOf(secret, node);
        const { name, scope } = secret;
        const at = this.#known.get(file)?.at;
        views.set(file, { name, scope, ...(scope === 'node' ? { node } : {}), ...(at === undefined ? {} : { at }) });
      }
    }
    return [...views.values()];
  }

  /**
   * Draws it anew; nodes have the new one from their next boot on. @param nodes for whom, where each has its own
   * @throws UserError not-found
   */
  async rotate(name: string, nodes: readonly Node[]): Promise<SecretView[]> {
    const wanted = new Map<string, { secret: Secret; node: NodeName }>();
    for (const { name: node, settings } of nodes) {
      const secret = settings.secrets?.find((one) => one.name === name);
      if (secret) {
        wanted.set(this.#fileOf(secret, node), { secret, node });
      }
    }
    if (wanted.size === 0) {
      throw new UserError('not-found', `No node has a secret "${name}"`, { hint: 'cardless secret list shows all' });
    }
    for (const [file, { secret }] of wanted) {
      // One that a boot has just begun to draw is as new, and half of it must not meet half of ours.
      await this.#drawOnce(file, secret.bytes);
    }
    return this.list(nodes).filter((view) => view.name === name);
  }

  async removeOf(node: NodeName): Promise<void> {
    const directory = join(this.#directory, 'nodes', node);
    await rm(directory, { recursive: true, force: true });
    for (const file of [...this.#known.keys()].filter((one) => dirname(one) === directory)) {
      this.#known.delete(file);
    }
  }

  async #bytesOf(secret: Secret, node: NodeName): Promise<Buffer> {
    const file = this.#fileOf(secret, node);
    const known = await this.#read(file);
    const bytes = known && Buffer.from(known.bytes, 'base64');
    if (bytes && bytes.length === secret.bytes) {
      return bytes;
    }
    return Buffer.from((await this.#drawOnce(file, secret.bytes)).bytes, 'base64');
  }

  /** Nodes that boot at the same time must get the same. */
  async #drawOnce(file: string, count: number): Promise<Drawn> {
    let drawing = this.#drawing.get(file);
    if (!drawing) {
      drawing = this.#draw(file, count).finally(() => this.#drawing.delete(file));
      this.#drawing.set(file, drawing);
    }
    return await drawing;
  }

  /** On disk when it resolves: a node must not have one that a power cut takes from the others. */
  async #draw(file: string, count: number): Promise<Drawn> {
    const drawn = { id: randomBytes(8).toString('hex'), at: this.#clock.now(), bytes: randomBytes(count).toString('base64') };
    await mkdir(dirname(file), { recursive: true, mode: 0o700 });
    const partial = join(dirname(file), `.${basename(file)}.partial`);
    await writeFile(partial, JSON.stringify(drawn), { mode: 0o600 });
    await syncPath(partial);
    await rename(partial, file);
    await syncPath(dirname(file));
    this.#known.set(file, { id: drawn.id, at: drawn.at });
    return drawn;
  }

  async #read(file: string): Promise<Drawn | undefined> {
    const text = await readFile(file, 'utf8').catch((error: unknown) => {
      if (systemCode(error) !== 'ENOENT') {
        throw error;
      }
    });
    return text === undefined ? undefined : Drawn.parse(JSON.parse(text));
  }

  #fileOf({ name, scope }: Secret, node: NodeName): string {
    return join(this.#directory, scope === 'cluster' ? 'cluster' : join('nodes', node), `${name}.json`);
  }
}
