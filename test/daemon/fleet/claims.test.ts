import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { expect, test } from 'vitest';
import { BootSessions } from '#src/daemon/boot-sessions.ts';
import { Claims } from '#src/daemon/fleet/claims.ts';
import { UnclaimedBoards } from '#src/daemon/unclaimed.ts';
import { parseGroupName } from '#src/domain/group.ts';
import { parseImageDigest } from '#src/domain/image.ts';
import { parseMac } from '#src/domain/mac.ts';
import { parseNodeName } from '#src/domain/node.ts';
import { parseSerial } from '#src/domain/serial.ts';
import { opensSession } from '#src/policy/boot-progress.ts';
import { ClaimStore } from '#src/store/claims.ts';
import { openDatabase } from '#src/store/database.ts';
import { NodeStore } from '#src/store/nodes.ts';
import { SessionStore } from '#src/store/sessions.ts';
import { FakeClock } from '../../support/fake-clock.ts';
import { nodeRecord } from '../../support/nodes.ts';

const red5 = parseNodeName('red5');

/** Nodes with a board whose serial number ends so cannot be given what their settings say. */
const refused = '5';

function start(file = join(mkdtempSync(join(tmpdir(), 'cardless-')), 'state.db'), clock = new FakeClock()) {
  const database = openDatabase(file);
  const nodes = new NodeStore(database);
  const unclaimed = new UnclaimedBoards(clock);
  const sessions = new BootSessions(new SessionStore(database), clock, pino({ level: 'silent' }));
  const claims = new Claims({
    sessions,
    contents: {
      problemsOf: (fleet) =>
        fleet
          .filter(({ serial, group }) => serial?.endsWith(refused) || group === 'broken')
          .map(({ name }) => ({ node: name, problem: { list: 'files', key: '/etc/motd', message: '/etc/motd, line 1: no label' } })),
    },
    afterRemoval: () => Promise.resolve(),
    isServing: () => true,
    store: new ClaimStore(database),
    nodes,
    unclaimed,
    clock,
    log: pino({ level: 'silent' }),
    onChange: () => {},
  });
  const knock = (number: number): boolean =>
    unclaimed.knock({ class: 'pi4-eeprom', mac: parseMac(`dca63200000${number}`), serial: parseSerial(`0000000${number}`) }, 'eth0');
  const boards = (): Record<string, string | undefined> => Object.fromEntries(nodes.list().map(({ name, serial }) => [name, serial]));
  return { file, clock, nodes, unclaimed, sessions, claims, knock, boards };
}

async function pass(clock: FakeClock, ms: number): Promise<void> {
  let isOver = false;
  clock.after(ms, () => {
    isOver = true;
  });
  await clock.run(() => isOver);
}

const open = (names: string, change = {}) => ({ names, seconds: 600, waiting: false, ...change });

test('boards become nodes in the order in which they are plugged in; those that asked before are left alone', async () => {
  const { claims, knock, boards, unclaimed, clock } = start();
  knock(9);
  await pass(clock, 1000);
  claims.open(open('red[5-7]'));
  knock(9);
  knock(2);
  knock(1);
  knock(2);
  expect(boards()).toEqual({ red5: '00000002', red6: '00000001' });
  expect(unclaimed.list().map(({ serial }) => serial)).toEqual(['00000009']);
  knock(3);
  knock(4);
  expect(boards()).toEqual({ red5: '00000002', red6: '00000001', red7: '00000003' });
});

test('boards that wait already are taken in the order of their first question, where that is wanted', async () => {
  const { claims, knock, boards, clock } = start();
  for (const number of [2, 1]) {
    knock(number);
    await pass(clock, 10);
  }
  knock(2);
  claims.open(open('red[5-6]', { waiting: true }));
  expect(boards()).toEqual({ red5: '00000002', red6: '00000001' });
});

test('a window ends with its time, and survives a restart of the server', async () => {
  const { file, clock, claims } = start();
  claims.open(open('red[5-6]'));
  const again = start(file, clock);
  again.knock(1);
  expect(again.boards()).toEqual({ red5: '00000001' });
  await pass(clock, 600_000);
  again.knock(2);
  expect(again.boards()).toEqual({ red5: '00000001' });
});

test('the newest claim is taken back, and the next board gets its name', async () => {
  const { claims, knock, boards, nodes } = start();
  nodes.add([nodeRecord('red5', { overlay: 'ephemeral' })]);
  claims.open(open('red[5-6]'));
  knock(1);
  knock(2);
  await claims.undo();
  await claims.undo();
  expect(boards()).toEqual({ red5: undefined });
  expect(nodes.get(red5)?.overlay).toBe('ephemeral');
  knock(3);
  expect(boards()).toEqual({ red5: '00000003' });
  await claims.undo();
  await expect(claims.undo()).rejects.toThrow(/no claim to take back/);
});

test('no board becomes a node that could not be given what its settings say', () => {
  const { claims, knock, boards, nodes, unclaimed } = start();
  nodes.apply({ ...nodes.fleet, groups: [{ name: parseGroupName('broken'), settings: {} }], add: [], update: [], remove: [] });
  expect(() => claims.claim({ board: '00000005', as: 'red5', replace: false })).toThrow(/red5: .etc.motd, line 1: no label/);
  expect(() => claims.open(open('red[5-6]', { group: 'broken' }))).toThrow(/red\[5-6\]: .etc.motd/);
  claims.open(open('red[5-6]'));
  knock(5);
  knock(1);
  expect(boards()).toEqual({ red5: '00000001' });
  expect(unclaimed.list().map(({ serial }) => serial)).toEqual(['00000005']);
});

test('a broken board is replaced under its name, with all that was said for it', async () => {
  const { claims, knock, nodes, boards } = start();
  nodes.add([nodeRecord('red5', { serial: parseSerial('91cdf03d'), macs: [parseMac('b827eb6c4c16')], overlay: 'ephemeral' })]);
  knock(1);
  expect(() => claims.claim({ board: '00000001', as: 'red5', replace: false })).toThrow(/red5 has a board already: 91cdf03d/);
  claims.claim({ board: '00000001', as: 'red5', replace: true });
  expect(nodes.get(red5)).toMatchObject({ serial: '00000001', macs: ['dc:a6:32:00:00:01'], overlay: 'ephemeral' });
  expect(nodes.byMac(parseMac('b827eb6c4c16'))).toBeUndefined();
  await claims.undo();
  expect(boards()).toEqual({ red5: '91cdf03d' });
});

test('one board is one node', () => {
  const { claims } = start();
  claims.claim({ board: '00000001', as: 'red5', replace: false });
  expect(() => claims.claim({ board: '00000001', as: 'red6', replace: false })).toThrow(/00000001 is red5/);
  claims.claim({ board: '00000001', as: 'red5', replace: false });
  expect(() => claims.open(open('red[5-6]'))).toThrow(/have a board already: red5/);
  expect(() => claims.claim({ board: '00000002', as: 'red7', replace: false, group: 'nobody' })).toThrow(/There is no group "nobody"/);
});

test('a denied board is neither listed nor claimed, until it is allowed again', () => {
  const { claims, knock, boards, unclaimed, file, clock } = start();
  knock(1);
  claims.deny('00000001');
  expect(unclaimed.list()).toEqual([]);
  claims.open(open('red[5-6]', { waiting: true }));
  knock(1);
  expect(boards()).toEqual({});
  expect(() => claims.claim({ board: '00000001', as: 'red5', replace: false })).toThrow(/is denied/);
  const again = start(file, clock);
  again.claims.allow('00000001');
  again.claims.allow('dc:a6:32:00:00:01');
  again.knock(1);
  expect(again.boards()).toEqual({ red5: '00000001' });
});

test('a board that takes the place of another one begins a boot of its own', async () => {
  const { claims, nodes, sessions } = start();
  nodes.add([nodeRecord('red5', { serial: parseSerial('91cdf03d') })]);
  const digest = parseImageDigest('a'.repeat(64));
  sessions.open({ node: red5, arch: 'arm64', client: 'pi4-eeprom', digest, mac: parseMac('b827eb6c4c16') });
  claims.claim({ board: '00000001', as: 'red5', replace: true });
  expect(opensSession(sessions.of(red5), 'pi4-eeprom', 1)).toBe(true);
  sessions.open({ node: red5, arch: 'arm64', client: 'pi4-eeprom', digest });
  await claims.undo();
  expect(opensSession(sessions.of(red5), 'pi4-eeprom', 1)).toBe(true);
});

test('boards that had asked before are left alone after a restart too; with no interface nobody is waited for', () => {
  const { file, clock, claims, knock } = start();
  knock(9);
  claims.open(open('red[5-6]'));
  const again = start(file, clock);
  again.knock(9);
  again.knock(1);
  expect(again.boards()).toEqual({ red5: '00000001' });
});
