import { execFileSync } from 'node:child_process';
import { copyFileSync, mkdtempSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { DatabaseSync } from 'node:sqlite';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { type Ipv4, ipv4FromNumber } from '#src/domain/ipv4.ts';
import { type Mac, parseMac } from '#src/domain/mac.ts';
import { type NodeName, parseNodeName } from '#src/domain/node.ts';
import { openDatabase } from '#src/store/database.ts';
import { LeaseStore } from '#src/store/leases.ts';
import { NodeStore } from '#src/store/nodes.ts';
import { nodeRecord } from '../support/nodes.ts';

const mac = (index: number): Mac => parseMac(index.toString(16).padStart(12, '0'));
const address = (index: number): Ipv4 => ipv4FromNumber(0x0a000000 + index);
const name = (index: number): NodeName => parseNodeName(`n${index}`);

function start(nodes = 8): { path: string; database: DatabaseSync; leases: LeaseStore; registry: NodeStore; write: () => void } {
  const path = join(mkdtempSync(join(tmpdir(), 'cardless-')), 'state.db');
  const database = openDatabase(path);
  const registry = new NodeStore(database);
  registry.add(Array.from({ length: nodes }, (_, index) => nodeRecord(name(index), { macs: [mac(index)] })));
  const waiting: (() => void)[] = [];
  const leases = new LeaseStore(database, (action) => waiting.push(action));
  return { path, database, leases, registry, write: () => waiting.splice(0).forEach((action) => void action()) };
}

const onDisk = (path: string): LeaseStore => new LeaseStore(openDatabase(path));

describe('a group of leases', () => {
  test('is in memory at once, on disk before anyone is told', async () => {
    const { path, leases, write } = start();
    const kept = [0, 1, 2].map((index) => leases.keepSoon(mac(index), address(index), name(index)));
    expect(leases.holderOf(address(1))).toBe(mac(1));
    expect(onDisk(path).addressOf(mac(1))).toBeUndefined();
    write();
    await Promise.all(kept);
    expect([0, 1, 2].map((index) => onDisk(path).addressOf(mac(index)))).toEqual([0, 1, 2].map(address));
  });
  test('a lease that is on disk needs no write, one that is on its way is waited for', async () => {
    const { leases, write } = start();
    const first = leases.keepSoon(mac(0), address(0), name(0));
    expect(leases.keepSoon(mac(0), address(0), name(0))).toBe(first);
    write();
    await first;
    expect(leases.keepSoon(mac(0), address(0), name(0))).toBeUndefined();
  });
  test('when it cannot be written, all who wait are told and nothing is kept', async () => {
    const { database, leases, write } = start();
    database.exec(
      "CREATE TEMP TRIGGER full BEFORE INSERT ON main.leases WHEN NEW.mac = '00:00:00:00:00:01' BEGIN SELECT RAISE(ABORT, 'disk full'); END",
    );
    const kept = [0, 1].map((index) => leases.keepSoon(mac(index), address(index), name(index)));
    write();
    for (const promise of kept) {
      await expect(promise).rejects.toThrow('disk full');
    }
    expect([0, 1].map((index) => leases.addressOf(mac(index)))).toEqual([undefined, undefined]);
  });
  test('a node that is removed meanwhile takes its lease along', async () => {
    const { path, leases, registry, write } = start();
    const kept = leases.keepSoon(mac(0), address(0), name(0));
    registry.remove(name(0));
    write();
    await kept;
    expect([leases.addressOf(mac(0)), leases.holderOf(address(0)), onDisk(path).addressOf(mac(0))]).toEqual([
      undefined,
      undefined,
      undefined,
    ]);
  });
});

test('who loses an address before it is written does not get it back when the taker drops it', () => {
  const { path, leases, write } = start();
  void leases.keepSoon(mac(0), address(0), name(0));
  void leases.keepSoon(mac(1), address(0), name(1));
  void leases.dropSoon(mac(1));
  write();
  expect([leases.holderOf(address(0)), onDisk(path).holderOf(address(0))]).toEqual([undefined, undefined]);
});

test('memory and disk agree after any sequence of changes', () => {
  const change = fc.record({
    what: fc.constantFrom('keep', 'drop', 'write', 'remove'),
    who: fc.nat(7),
    where: fc.nat(5),
  });
  fc.assert(
    fc.property(fc.array(change, { maxLength: 25 }), (changes) => {
      const { path, leases, registry, write } = start();
      for (const { what, who, where } of changes) {
        if (what === 'keep' && registry.get(name(who))) {
          void leases.keepSoon(mac(who), address(where), name(who));
        } else if (what === 'drop') {
          void leases.dropSoon(mac(who));
        } else if (what === 'write') {
          write();
        } else if (what === 'remove') {
          registry.remove(name(who));
        }
      }
      write();
      const stored = onDisk(path);
      for (let index = 0; index < 8; index += 1) {
        expect(leases.addressOf(mac(index))).toBe(stored.addressOf(mac(index)));
        expect(leases.holderOf(address(index))).toBe(stored.holderOf(address(index)));
      }
      rmSync(path);
    }),
    { numRuns: 100 },
  );
});

describe('a crash', () => {
  test('kill -9 at any instant: every lease that was acknowledged is there', () => {
    const path = join(mkdtempSync(join(tmpdir(), 'cardless-')), 'state.db');
    const acknowledged = join(path, '../acknowledged');
    for (const pauseMs of [0, 3, 11]) {
      const child = `
        import { appendFileSync } from 'node:fs';
        import { openDatabase } from '#src/store/database.ts';
        import { NodeStore } from '#src/store/nodes.ts';
        import { LeaseStore } from '#src/store/leases.ts';
        const database = openDatabase(process.argv[1]);
        const nodes = new NodeStore(database);
        const leases = new LeaseStore(database);
        if (nodes.list().length === 0) nodes.add([{ name: 'n0', macs: [], own: {}, reimage: false }]);
        const base = ${pauseMs} * 1000000;
        let count = 0;
        const step = () => {
          for (let index = 0; index < 20; index += 1) {
            const id = base + count++;
            const mac = id.toString(16).padStart(12, '0').match(/../g).join(':');
            const address = '10.' + (id >> 16 & 255) + '.' + (id >> 8 & 255) + '.' + (id & 255);
            leases.keepSoon(mac, address, 'n0').then(() => appendFileSync(process.argv[2], mac + ' ' + address + '\\n'));
          }
          setTimeout(step, 1);
        };
        step();
        setTimeout(() => process.kill(process.pid, 'SIGKILL'), 150 + ${pauseMs});
      `;
      try {
        execFileSync(process.execPath, ['--input-type=module-typescript', '-e', child, path, acknowledged], { stdio: 'pipe' });
      } catch (error) {
        expect(error).toMatchObject({ signal: 'SIGKILL' });
      }
    }
    const stored = onDisk(path);
    const lines = readFileSync(acknowledged, 'utf8').split('\n').slice(0, -1);
    expect(lines.length).toBeGreaterThan(20);
    for (const line of lines) {
      const [who = '', where = ''] = line.split(' ');
      expect(stored.addressOf(parseMac(who))).toBe(where);
    }
  });
  test('a log that was cut short opens, with the groups before the cut', () => {
    const { path, leases, write } = start();
    for (let index = 0; index < 8; index += 1) {
      void leases.keepSoon(mac(index), address(index), name(index));
      write();
    }
    // As the disk would have it after the power went, without the index that the living process shares.
    const copy = join(mkdtempSync(join(tmpdir(), 'cardless-')), 'state.db');
    copyFileSync(path, copy);
    copyFileSync(`${path}-wal`, `${copy}-wal`);
    truncateSync(`${copy}-wal`, statSync(`${copy}-wal`).size - 1000);
    const stored = onDisk(copy);
    expect(stored.addressOf(mac(7))).toBeUndefined();
    expect(stored.addressOf(mac(5))).toBe(address(5));
  });
});
