import type { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import { DnsRecord, documentOf, SettingsDocument, settingsOf } from '../config/fleet-document.ts';
import { parsed } from '../config/parsed.ts';
import { UserError } from '../domain/errors.ts';
import type { DnsRecord as FleetRecord } from '../domain/fleet.ts';
import { type Group, type GroupName, parseGroupName } from '../domain/group.ts';
import type { NodeSettings } from '../domain/node-settings.ts';

const Row = z.object({ name: parsed(parseGroupName), parent: parsed(parseGroupName).nullable(), settings: z.string() });

const Applied = z.object({ text: z.string(), sources: z.record(z.string(), z.string()) });

export interface AppliedFile {
  readonly text: string;
  /** The files that it names. */
  readonly sources: Readonly<Record<string, string>>;
}

export interface FleetFacts {
  readonly groups: readonly Group[];
  /** Said for all nodes. */
  readonly everybody: NodeSettings;
  readonly dns: readonly FleetRecord[];
  /** The file that was applied last, as people wrote it. */
  readonly document?: AppliedFile;
}

/** What is said about groups and about all nodes, read from memory. Writing belongs to a transaction of the caller. */
export class FleetStore {
  readonly #database: DatabaseSync;
  #facts: FleetFacts = { groups: [], everybody: {}, dns: [] };

  constructor(database: DatabaseSync) {
    this.#database = database;
    this.load();
  }

  /** What the database has, also after a change that was taken back. */
  load(): void {
    const rows = this.#database.prepare('SELECT name, parent, settings FROM groups ORDER BY name').all();
    const groups = rows.map((raw) => {
      const { name, parent, settings } = Row.parse(raw);
      return { name, settings: settingsFrom(settings), ...(parent === null ? {} : { parent }) };
    });
    const [settings, dns, document] = ['settings', 'dns', 'document'].map((key) => this.#text(key));
    this.#facts = {
      groups,
      everybody: settings === undefined ? {} : settingsFrom(settings),
      dns: dns === undefined ? [] : z.array(DnsRecord).parse(JSON.parse(dns)),
      ...(document === undefined ? {} : { document: Applied.parse(JSON.parse(document)) }),
    };
  }

  get facts(): FleetFacts {
    return this.#facts;
  }

  write({ groups, everybody, dns, document }: FleetFacts): void {
    this.#database.exec('DELETE FROM groups');
    const insert = this.#database.prepare('INSERT INTO groups (name, parent, settings) VALUES (?, ?, ?)');
    for (const { name, parent = null, settings } of groups) {
      insert.run(name, parent, settingsText(settings));
    }
    const texts = { settings: settingsText(everybody), dns: JSON.stringify(dns), document: document && JSON.stringify(document) };
    for (const [key, text] of Object.entries(texts)) {
      if (text !== undefined) {
        this.#database
          .prepare('INSERT INTO fleet (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value')
          .run(key, text);
      }
    }
  }

  #text(key: string): string | undefined {
    const row = this.#database.prepare('SELECT value FROM fleet WHERE key = ?').get(key);
    return row && String(row['value']);
  }
}

/** The group and what it inherits from, the narrowest first. One that does not exist has nothing to say. */
export function chainOf(name: GroupName | undefined, groups: readonly Group[]): Group[] {
  const chain: Group[] = [];
  for (let next = name; next !== undefined; ) {
    const group = groups.find((candidate) => candidate.name === next);
    if (!group || chain.includes(group)) {
      break;
    }
    chain.push(group);
    next = group.parent;
  }
  return chain;
}

/** Only what can be read again is ever written. @throws UserError bad-input */
export function settingsText(settings: NodeSettings): string {
  const document = documentOf(settings);
  const result = SettingsDocument.safeParse(document);
  if (!result.success) {
    throw new UserError('bad-input', `These settings are not understood:\n${z.prettifyError(result.error)}`);
  }
  return JSON.stringify(document);
}

export function settingsFrom(text: string): NodeSettings {
  return settingsOf(SettingsDocument.parse(JSON.parse(text)));
}
