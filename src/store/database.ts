import { chmodSync, mkdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { messageOf, UserError } from '../domain/errors.ts';

/** Each entry brings a database one version further. Entries are only ever added. */
const migrations: readonly string[] = [
  `
  CREATE TABLE nodes (
    name TEXT PRIMARY KEY,
    serial TEXT UNIQUE,
    model TEXT,
    address TEXT UNIQUE,
    image TEXT NOT NULL,
    overlay TEXT NOT NULL,
    reimage INTEGER NOT NULL DEFAULT 0
  ) STRICT;
  CREATE TABLE node_macs (
    mac TEXT PRIMARY KEY,
    node TEXT NOT NULL REFERENCES nodes (name) ON DELETE CASCADE
  ) STRICT;
  CREATE TABLE leases (
    mac TEXT PRIMARY KEY,
    address TEXT NOT NULL UNIQUE,
    node TEXT NOT NULL REFERENCES nodes (name) ON DELETE CASCADE
  ) STRICT;
  CREATE TABLE sessions (
    id TEXT PRIMARY KEY,
    node TEXT NOT NULL REFERENCES nodes (name) ON DELETE CASCADE,
    started_at INTEGER NOT NULL,
    body TEXT NOT NULL
  ) STRICT;
  CREATE INDEX sessions_by_node ON sessions (node, started_at);
  `,
  'ALTER TABLE nodes ADD COLUMN hold INTEGER NOT NULL DEFAULT 0',
  `
  CREATE TABLE image_tags (
    name TEXT NOT NULL,
    arch TEXT NOT NULL,
    tag TEXT NOT NULL,
    digest TEXT NOT NULL,
    PRIMARY KEY (name, arch, tag)
  ) STRICT;
  CREATE TABLE jobs (id INTEGER PRIMARY KEY, body TEXT NOT NULL) STRICT;
  `,
  `
  ALTER TABLE nodes ADD COLUMN overlay_bytes INTEGER;
  ALTER TABLE nodes ADD COLUMN data_bytes INTEGER;
  ALTER TABLE nodes ADD COLUMN carry TEXT;
  `,
  `
  CREATE TABLE groups (name TEXT PRIMARY KEY, parent TEXT, settings TEXT NOT NULL) STRICT;
  CREATE TABLE fleet (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
  ALTER TABLE nodes ADD COLUMN member_of TEXT;
  ALTER TABLE nodes ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';
  UPDATE nodes SET settings = json_patch('{}', json_object(
    'image', image, 'overlay', overlay, 'overlaySize', CAST(overlay_bytes AS TEXT),
    'dataVolume', CASE data_bytes WHEN 0 THEN 'none' ELSE CAST(data_bytes AS TEXT) END));
  ALTER TABLE nodes DROP COLUMN image;
  ALTER TABLE nodes DROP COLUMN overlay;
  ALTER TABLE nodes DROP COLUMN overlay_bytes;
  ALTER TABLE nodes DROP COLUMN data_bytes;
  `,
];

/** What is committed is on the disk: synchronous FULL, write-ahead log. @throws UserError when the file is damaged */
export function openDatabase(file: string): DatabaseSync {
  mkdirSync(dirname(file), { recursive: true });
  const database = new DatabaseSync(file);
  // It holds the tokens of boots under way; SQLite gives its log files the same mode.
  chmodSync(file, 0o600);
  try {
    database.exec('PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON; PRAGMA busy_timeout = 5000;');
    migrate(database, file);
    return database;
  } catch (error) {
    database.close();
    if (error instanceof UserError) {
      throw error;
    }
    throw new UserError('failed', `The database ${file} cannot be opened: ${messageOf(error)}`, {
      cause: error,
      hint: 'Restore it from a backup, or move it away to start with an empty one',
    });
  }
}

function migrate(database: DatabaseSync, file: string): void {
  const version = Number(database.prepare('PRAGMA user_version').get()?.['user_version'] ?? 0);
  if (version > migrations.length) {
    throw new UserError('failed', `${file} was written by a newer Cardless (schema ${version}, this one knows ${migrations.length})`, {
      hint: 'Install that version again',
    });
  }
  for (const [index, sql] of migrations.entries()) {
    if (index >= version) {
      transaction(database, () => database.exec(`${sql}; PRAGMA user_version = ${index + 1};`));
    }
  }
}

/** Runs `work` in a transaction: all of it is kept, or nothing. */
export function transaction<T>(database: DatabaseSync, work: () => T): T {
  database.exec('BEGIN IMMEDIATE');
  try {
    const result = work();
    database.exec('COMMIT');
    return result;
  } catch (error) {
    // On a full disk SQLite has taken it back already.
    if (database.isTransaction) {
      database.exec('ROLLBACK');
    }
    throw error;
  }
}
