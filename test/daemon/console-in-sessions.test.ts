import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { describe, expect, test } from 'vitest';
import { BootSessions } from '#src/daemon/boot-sessions.ts';
import { parseImageDigest } from '#src/domain/image.ts';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { parseNodeName } from '#src/domain/node.ts';
import { parseSerial } from '#src/domain/serial.ts';
import { opensSession } from '#src/policy/boot-progress.ts';
import { openDatabase } from '#src/store/database.ts';
import { NodeStore } from '#src/store/nodes.ts';
import { SessionStore } from '#src/store/sessions.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { nodeRecord } from '../support/nodes.ts';

const red5 = parseNodeName('red5');
const facts = { node: red5, arch: 'arm64', client: 'pi4-eeprom', digest: parseImageDigest('a'.repeat(64)) } as const;

function start(): { sessions: BootSessions; store: SessionStore; clock: FakeClock } {
  const database = openDatabase(join(mkdtempSync(join(tmpdir(), 'cardless-')), 'state.db'));
  new NodeStore(database).add([nodeRecord(red5, { serial: parseSerial('91cdf03d') })]);
  const clock = new FakeClock();
  const store = new SessionStore(database);
  return { store, clock, sessions: new BootSessions(store, clock, pino({ level: 'silent' })) };
}

function said(sessions: BootSessions): (string | undefined)[] {
  return (sessions.of(red5)?.events ?? []).filter(({ what }) => what === 'netconsole').map(({ detail }) => detail);
}

describe("the boot loader's lines in a timeline", () => {
  test('stand at the stage of the moment and reach the disk', () => {
    const { sessions, store } = start();
    sessions.open(facts);
    sessions.record(red5, 'firmware', 'file sent', 'config.txt');
    sessions.recordConsole(red5, 'Read config.txt');
    sessions.close();
    expect(store.of(red5)[0]?.events).toMatchObject([
      { what: 'file sent' },
      { what: 'netconsole', stage: 'firmware', detail: 'Read config.txt' },
    ]);
  });

  test('the newest 300 are kept, and no event is lost to them', () => {
    const { sessions } = start();
    sessions.open(facts);
    sessions.record(red5, 'dhcp', 'dhcp', 'offer');
    for (let line = 0; line < 2000; line += 1) {
      sessions.recordConsole(red5, `line ${line}`);
    }
    for (let event = 0; event < 600; event += 1) {
      sessions.record(red5, 'firmware', 'file sent', `file ${event}`);
    }
    expect(said(sessions)).toEqual(Array.from({ length: 300 }, (_, index) => `line ${1700 + index}`));
    const events = sessions.of(red5)?.events.filter(({ what }) => what !== 'netconsole') ?? [];
    expect(events).toHaveLength(500);
    expect(events[0]).toMatchObject({ what: 'dhcp' });
  });

  test('what a board says before it asks for anything belongs to the boot that follows', async () => {
    const { sessions, clock } = start();
    sessions.open(facts);
    sessions.change(red5, { outcome: 'ready' });
    sessions.recordConsole(red5, 'too old');
    await clock.run(() => false, 0);
    clock.after(200_000, () => {});
    await clock.run(() => clock.now() >= 200_000, 300_000);
    sessions.recordConsole(red5, 'RPi: BOOTLOADER release');
    expect(said(sessions)).toEqual([]);
    sessions.open(facts);
    expect(said(sessions)).toEqual(['RPi: BOOTLOADER release']);
    sessions.change(red5, { outcome: 'ready' });
    sessions.open(facts);
    expect(said(sessions)).toEqual([]);
  });

  test('a running node is not in firmware: its session is left alone', () => {
    const { sessions } = start();
    sessions.open(facts);
    sessions.change(red5, { address: parseIpv4('10.0.0.5') });
    sessions.recordConsole(red5, 'reboot');
    expect(said(sessions)).toEqual([]);
  });

  test('do not show a token', () => {
    const { sessions } = start();
    const { token } = sessions.open(facts);
    sessions.recordConsole(red5, `cmdline: cardless.token=${token} quiet`);
    expect(said(sessions)).toEqual(['cmdline: cardless.token=... quiet']);
  });

  test('do not keep a boot alive that went silent', () => {
    const { sessions } = start();
    const session = sessions.open(facts);
    const events = [
      { at: 0, stage: 'dhcp', what: 'dhcp' },
      { at: 95_000, stage: 'dhcp', what: 'netconsole', detail: 'again' },
    ] as const;
    expect(opensSession({ ...session, events }, 'pi4-eeprom', 96_000)).toBe(true);
    expect(opensSession({ ...session, events }, 'pi4-eeprom', 80_000)).toBe(false);
  });
});
