import { mkdtempSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { describe, expect, test } from 'vitest';
import { type Image, parseImageDigest, parseImageName } from '#src/domain/image.ts';
import { parseImageRef, parseImageTag } from '#src/domain/image-ref.ts';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { parseMac } from '#src/domain/mac.ts';
import { type NodeRecord, parseNodeName } from '#src/domain/node.ts';
import { parseRootPath } from '#src/domain/overlay.ts';
import { parseSerial } from '#src/domain/serial.ts';
import { openDatabase } from '#src/store/database.ts';
import { ImageTagStore } from '#src/store/image-tags.ts';
import { LeaseStore } from '#src/store/leases.ts';
import { NodeStore } from '#src/store/nodes.ts';
import { SessionStore } from '#src/store/sessions.ts';
import { nodeRecord } from '../support/nodes.ts';

const file = (): string => join(mkdtempSync(join(tmpdir(), 'cardless-')), 'state.db');
const node = (name: string, facts: Parameters<typeof nodeRecord>[1] = {}): NodeRecord =>
  nodeRecord(name, { serial: parseSerial('91cdf03d'), macs: [parseMac('b827eb6c4c16')], ...facts });

describe('database', () => {
  test('what was written is there after it is opened again', () => {
    const path = file();
    const first = openDatabase(path);
    new NodeStore(first).add([node('red5', { address: parseIpv4('10.0.0.5') })]);
    new LeaseStore(first).keep(parseMac('b827eb6c4c16'), parseIpv4('10.0.0.5'), parseNodeName('red5'));
    // Not closed: a crash would not close it either.
    const second = openDatabase(path);
    expect(new NodeStore(second).list()).toMatchObject([node('red5', { address: parseIpv4('10.0.0.5') })]);
    expect(new LeaseStore(second).addressOf(parseMac('b827eb6c4c16'))).toBe('10.0.0.5');
  });
  test('the disks that a node is to have, and what is to be carried over until that was done', () => {
    const path = file();
    const digest = parseImageDigest('a'.repeat(64));
    const carry = { from: digest, paths: [parseRootPath('/home')] };
    const wanted = node('red5', { overlayBytes: 2 ** 40, dataBytes: 0, carry });
    const nodes = new NodeStore(openDatabase(path));
    nodes.add([wanted]);
    expect(new NodeStore(openDatabase(path)).list()).toMatchObject([wanted]);
    nodes.update(wanted.name, { carry: null });
    nodes.set(wanted.name, { dataBytes: 2 ** 33 });
    for (const store of [nodes, new NodeStore(openDatabase(path))]) {
      expect(store.list()).toMatchObject([{ name: 'red5', dataBytes: 2 ** 33, overlayBytes: 2 ** 40 }]);
      expect(store.list()[0]).not.toHaveProperty('carry');
    }
  });
  test('nodes of a database from before there were groups keep what was said for them', () => {
    const path = file();
    const old = new DatabaseSync(path);
    old.exec(`
      CREATE TABLE nodes (name TEXT PRIMARY KEY, serial TEXT UNIQUE, model TEXT, address TEXT UNIQUE, image TEXT NOT NULL,
        overlay TEXT NOT NULL, reimage INTEGER NOT NULL DEFAULT 0, hold INTEGER NOT NULL DEFAULT 0, overlay_bytes INTEGER,
        data_bytes INTEGER, carry TEXT) STRICT;
      CREATE TABLE node_macs (mac TEXT PRIMARY KEY, node TEXT NOT NULL REFERENCES nodes (name) ON DELETE CASCADE) STRICT;
      INSERT INTO nodes (name, serial, image, overlay, overlay_bytes, data_bytes) VALUES
        ('red5', '91cdf03d', 'debian-13:stable', 'ephemeral', NULL, 0), ('red6', NULL, 'mine', 'persistent', 1073741824, 8589934592);
      INSERT INTO node_macs VALUES ('b8:27:eb:6c:4c:16', 'red6');
      PRAGMA user_version = 4;
    `);
    old.close();
    const [red5, red6] = new NodeStore(openDatabase(path)).list();
    expect(red5).toMatchObject({ serial: '91cdf03d', image: 'debian-13:stable', overlay: 'ephemeral', dataBytes: 0, groups: [] });
    expect(red5).not.toHaveProperty('overlayBytes');
    expect(red6).toMatchObject({ macs: ['b8:27:eb:6c:4c:16'], image: 'mine', overlayBytes: 2 ** 30, dataBytes: 2 ** 33 });
  });
  test('only its owner can read it', () => {
    const path = file();
    openDatabase(path).exec('CREATE TABLE t (x)');
    for (const name of readdirSync(dirname(path))) {
      expect(statSync(join(dirname(path), name)).mode & 0o077, name).toBe(0);
    }
  });
  test('a damaged file is named', () => {
    const path = file();
    writeFileSync(path, 'this is no database, and long enough to be looked at as one '.repeat(20));
    expect(() => openDatabase(path)).toThrow(/state\.db cannot be opened/);
  });
  test('a file of a newer version is not touched', () => {
    const path = file();
    const database = openDatabase(path);
    database.exec('PRAGMA user_version = 99');
    database.close();
    expect(() => openDatabase(path)).toThrow(/written by a newer Cardless/);
  });
});

describe('nodes', () => {
  const store = (): NodeStore => new NodeStore(openDatabase(file()));
  test('are found by serial, by either byte order of a UUID, and by MAC', () => {
    const nodes = store();
    const uuid = parseSerial('5f0c2a4e-7d1b-4e9a-8c36-2b90d4a17e55');
    nodes.add([node('pc1', { serial: uuid, macs: [parseMac('525400123456')] })]);
    expect(nodes.bySerial(parseSerial('4e2a0c5f-1b7d-9a4e-8c36-2b90d4a17e55'))?.name).toBe('pc1');
    expect(nodes.byMac(parseMac('525400123456'))?.name).toBe('pc1');
    expect(nodes.bySerial(parseSerial('00000001'))).toBeUndefined();
  });
  test('several are added together or not at all', () => {
    const nodes = store();
    expect(() => nodes.add([node('a'), node('b', { macs: [] })])).toThrow(/"a" has that serial/);
    expect(nodes.list()).toEqual([]);
  });
  test('are listed in the order people count', () => {
    const nodes = store();
    nodes.add(['red10', 'red2'].map((name, index) => node(name, { serial: parseSerial(`0000000${index}`), macs: [] })));
    expect(nodes.list().map(({ name }) => name)).toEqual(['red2', 'red10']);
  });
  test('removing one takes its leases and sessions with it', () => {
    const database = openDatabase(file());
    const nodes = new NodeStore(database);
    const leases = new LeaseStore(database);
    nodes.add([node('red5')]);
    leases.keep(parseMac('b827eb6c4c16'), parseIpv4('10.0.0.5'), parseNodeName('red5'));
    nodes.remove(parseNodeName('red5'));
    expect(leases.holderOf(parseIpv4('10.0.0.5'))).toBeUndefined();
    expect(nodes.byMac(parseMac('b827eb6c4c16'))).toBeUndefined();
  });
});

describe('sessions', () => {
  test('the newest twenty of a node are kept', () => {
    const database = openDatabase(file());
    new NodeStore(database).add([node('red5')]);
    const sessions = new SessionStore(database);
    for (let at = 0; at < 25; at += 1) {
      sessions.save({
        id: String(at),
        node: parseNodeName('red5'),
        arch: 'arm64',
        client: 'pi3-bootcode',
        digest: parseImageDigest('a'.repeat(64)),
        token: 't',
        startedAt: at,
        stage: 'dhcp',
        outcome: 'running',
        events: [{ at, stage: 'dhcp', what: 'dhcp' }],
      });
    }
    const kept = sessions.of(parseNodeName('red5'));
    expect(kept.map(({ id }) => id)).toEqual(Array.from({ length: 20 }, (_, index) => String(24 - index)));
    expect(sessions.latest().map(({ id }) => id)).toEqual(['24']);
  });
});

describe('tags of images', () => {
  const image = (digit: string, arch: 'arm64' | 'amd64' = 'arm64'): Image => ({
    name: parseImageName('debian-13'),
    digest: parseImageDigest(digit.repeat(64)),
    arch,
    kernelVersion: '6.12',
    rootFormat: 'erofs',
    files: [],
    createdAt: '',
  });
  const stable = parseImageTag('stable');
  test('move from one version to another, for each architecture, and are there after a restart', () => {
    const path = file();
    const tags = new ImageTagStore(openDatabase(path));
    tags.set([image('a'), image('b', 'amd64')], stable);
    tags.set([image('c')], stable);
    tags.set([image('c')], parseImageTag('prod'));
    const again = new ImageTagStore(openDatabase(path));
    for (const store of [tags, again]) {
      expect(store.digestOf(parseImageName('debian-13'), 'arm64', stable)).toBe(image('c').digest);
      expect(store.digestOf(parseImageName('debian-13'), 'amd64', stable)).toBe(image('b').digest);
      expect(store.of(image('a').digest)).toEqual([]);
      expect(store.of(image('c').digest)).toEqual(['prod', 'stable']);
    }
    expect(again.remove(parseImageName('debian-13'), stable, ['arm64'])).toMatchObject([{ digest: image('c').digest }]);
    expect(again.remove(parseImageName('debian-13'), stable, ['arm64'])).toEqual([]);
    expect(new ImageTagStore(openDatabase(path)).of(image('c').digest)).toEqual(['prod']);
  });
  test('a node keeps its reference, whatever form it has', () => {
    const path = file();
    new NodeStore(openDatabase(path)).add([node('red5', { image: parseImageRef('debian-13:stable') })]);
    expect(new NodeStore(openDatabase(path)).list()).toMatchObject([node('red5', { image: parseImageRef('debian-13:stable') })]);
  });
});
