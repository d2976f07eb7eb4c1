import type { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import { parsed } from '../config/parsed.ts';
import {
  type Architecture,
  architectures,
  type Image,
  type ImageDigest,
  type ImageName,
  parseImageDigest,
  parseImageName,
} from '../domain/image.ts';
import { type ImageTag, parseImageTag, type TagLookup } from '../domain/image-ref.ts';
import { transaction } from './database.ts';

const Row = z.object({
  name: parsed(parseImageName),
  arch: z.enum(architectures),
  tag: parsed(parseImageTag),
  digest: parsed(parseImageDigest),
});

export type TaggedVersion = Readonly<z.infer<typeof Row>>;

/** Which version has which tag, read from memory. Every change is on disk when its call returns. */
export class ImageTagStore implements TagLookup {
  readonly #database: DatabaseSync;
  // BOUNDED: by what people set.
  readonly #tags = new Map<string, TaggedVersion>();

  constructor(database: DatabaseSync) {
    this.#database = database;
    for (const raw of database.prepare('SELECT name, arch, tag, digest FROM image_tags').all()) {
      const row = Row.parse(raw);
      this.#tags.set(keyOf(row.name, row.arch, row.tag), row);
    }
  }

  digestOf(name: ImageName, arch: Architecture, tag: ImageTag): ImageDigest | undefined {
    return this.#tags.get(keyOf(name, arch, tag))?.digest;
  }

  /** In order of name. */
  of(digest: ImageDigest): ImageTag[] {
    return [...this.#tags.values()]
      .filter((row) => row.digest === digest)
      .map((row) => row.tag)
      .toSorted();
  }

  /** All of them or none; a version of the same name and architecture that had the tag has it no longer. */
  set(images: readonly Image[], tag: ImageTag): void {
    const rows = images.map(({ name, arch, digest }): TaggedVersion => ({ name, arch, tag, digest }));
    const insert = this.#database.prepare(
      'INSERT INTO image_tags (name, arch, tag, digest) VALUES (?, ?, ?, ?) ON CONFLICT (name, arch, tag) DO UPDATE SET digest = excluded.digest',
    );
    transaction(this.#database, () => {
      for (const { name, arch, digest } of rows) {
        insert.run(name, arch, tag, digest);
      }
    });
    for (const row of rows) {
      this.#tags.set(keyOf(row.name, row.arch, tag), row);
    }
  }

  /** @returns what had it */
  remove(name: ImageName, tag: ImageTag, wanted: readonly Architecture[]): TaggedVersion[] {
    const rows = [...this.#tags.values()].filter((row) => row.name === name && row.tag === tag && wanted.includes(row.arch));
    const remove = this.#database.prepare('DELETE FROM image_tags WHERE name = ? AND arch = ? AND tag = ?');
    transaction(this.#database, () => {
      for (const { arch } of rows) {
        remove.run(name, arch, tag);
      }
    });
    for (const row of rows) {
      this.#tags.delete(keyOf(name, row.arch, tag));
    }
    return rows;
  }
}

function keyOf(name: ImageName, arch: Architecture, tag: ImageTag): string {
  return `${name} ${arch} ${tag}`;
}
