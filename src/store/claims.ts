import type { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import { parsed } from '../config/parsed.ts';
import { parseGroupName } from '../domain/group.ts';
import { parseMac } from '../domain/mac.ts';
import { parseNodeName } from '../domain/node.ts';
import { parseSerial } from '../domain/serial.ts';

const Board = z.object({ serial: parsed(parseSerial).exactOptional(), macs: z.array(parsed(parseMac)) });

const Before = z.object({ ...Board.shape, group: parsed(parseGroupName).exactOptional() });

const Claim = z.object({
  name: parsed(parseNodeName),
  at: z.number(),
  board: Board,
  /** What the node had before; absent: there was no such node. */
  before: Before.exactOptional(),
});
export type Claim = z.infer<typeof Claim>;

const Window = z.object({
  /** Still without a board, in the order in which boards get them. */
  names: z.array(parsed(parseNodeName)),
  group: parsed(parseGroupName).exactOptional(),
  endsAt: z.number(),
  /** Boards that had asked before, which are left alone. */
  passed: z.array(parsed(parseMac)),
});
export type ClaimWindow = z.infer<typeof Window>;

const Body = z.object({
  window: Window.exactOptional(),
  /** Newest last. */
  claims: z.array(Claim),
  /** Boards that are never answered, by serial or MAC. */
  denied: z.array(z.union([parsed(parseMac), parsed(parseSerial)])),
});
export type ClaimsRecord = z.infer<typeof Body>;

const key = 'claims';

/** Which boards became which nodes, and which never may. On disk when a call returns. */
export class ClaimStore {
  readonly #database: DatabaseSync;
  #record: ClaimsRecord;

  constructor(database: DatabaseSync) {
    this.#database = database;
    const row = database.prepare('SELECT value FROM fleet WHERE key = ?').get(key);
    this.#record = row ? Body.parse(JSON.parse(String(row['value']))) : { claims: [], denied: [] };
  }

  get record(): ClaimsRecord {
    return this.#record;
  }

  save(record: ClaimsRecord): void {
    this.#database
      .prepare('INSERT INTO fleet (key, value) VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value')
      .run(key, JSON.stringify(record));
    this.#record = record;
  }
}
