import type { DatabaseSync } from 'node:sqlite';
import { z } from 'zod';
import { parsed } from '../config/parsed.ts';
import { type BootSession, bootStages } from '../domain/boot-session.ts';
import { architectures, parseImageDigest } from '../domain/image.ts';
import { parseIpv4 } from '../domain/ipv4.ts';
import { parseMac } from '../domain/mac.ts';
import { type NodeName, parseNodeName } from '../domain/node.ts';

const keptPerNode = 20;

const Body = z.object({
  id: z.string(),
  node: parsed(parseNodeName),
  arch: z.enum(architectures),
  client: z.string(),
  digest: parsed(parseImageDigest),
  configuration: z.object({ kernelArguments: z.array(z.string()), configTxt: z.array(z.string()) }).exactOptional(),
  content: z.record(z.string(), z.string()).exactOptional(),
  token: z.string(),
  mac: parsed(parseMac).exactOptional(),
  agentKey: z.string().exactOptional(),
  address: parsed(parseIpv4).exactOptional(),
  hardware: z.object({ cores: z.number(), memoryMiB: z.number() }).exactOptional(),
  startedAt: z.number(),
  stage: z.enum(bootStages),
  outcome: z.enum(['running', 'ready', 'failed', 'replaced']),
  failure: z.string().exactOptional(),
  events: z.array(z.object({ at: z.number(), stage: z.enum(bootStages), what: z.string(), detail: z.string().exactOptional() })),
});

export class SessionStore {
  readonly #database: DatabaseSync;

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** Newest first. */
  of(node: NodeName): BootSession[] {
    const rows = this.#database.prepare('SELECT body FROM sessions WHERE node = ? ORDER BY started_at DESC').all(node);
    return rows.map((row) => Body.parse(JSON.parse(String(row['body']))));
  }

  /** The newest one of each node. */
  latest(): BootSession[] {
    const rows = this.#database.prepare('SELECT body, MAX(started_at) FROM sessions GROUP BY node').all();
    return rows.map((row) => Body.parse(JSON.parse(String(row['body']))));
  }

  /** BOUNDED: the oldest sessions of a node are dropped, twenty stay. */
  save(session: BootSession): void {
    this.#database
      .prepare('INSERT INTO sessions (id, node, started_at, body) VALUES (?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET body = excluded.body')
      .run(session.id, session.node, session.startedAt, JSON.stringify(session));
    this.#database
      .prepare(
        'DELETE FROM sessions WHERE node = ? AND id NOT IN (SELECT id FROM sessions WHERE node = ? ORDER BY started_at DESC LIMIT ?)',
      )
      .run(session.node, session.node, keptPerNode);
  }
}
