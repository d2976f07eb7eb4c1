import { mkdtempSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { Exports } from '#src/daemon/exports.ts';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { FakeClock } from '../support/fake-clock.ts';

const red = parseIpv4('10.0.0.5');
const blue = parseIpv4('10.0.0.6');

function setUp(): { directory: string; exports: Exports; linked: (name: string, address: string) => string } {
  const directory = mkdtempSync(join(tmpdir(), 'cardless-exports-'));
  return { directory, exports: new Exports(directory), linked: (name, address) => readlinkSync(join(directory, name, address)) };
}

const disksOf = (node: string) => ({
  directories: [`/overlays/${node}`],
  root: '/images/root.img',
  overlay: `/overlays/${node}/a.img`,
});

describe('writes that a crash of the machine may have taken', () => {
  test('a restart of the server changes nothing', async () => {
    const { exports, linked } = setUp();
    await exports.refuseAfterCrash('boot 1', []);
    await exports.place(red, disksOf('red'));
    expect(await exports.refuseAfterCrash('boot 1', [red])).toEqual([]);
    expect(linked('overlay', red)).toBe('/overlays/red/a.img');
  });

  test('after another boot of the machine every writable disk is one that says "reboot"; roots stay', async () => {
    const { directory, exports, linked } = setUp();
    await exports.refuseAfterCrash('boot 1', []);
    await exports.place(red, disksOf('red'));
    expect(await exports.refuseAfterCrash('boot 2', [])).toEqual([red]);
    expect(linked('overlay', red)).toBe(join(directory, 'reboot.img'));
    expect(readFileSync(linked('overlay', red), 'latin1').slice(0, 16)).toBe('CARDLESS REBOOT\n');
    expect(linked('root', red)).toBe('/images/root.img');
    expect(await exports.refuseAfterCrash('boot 2', [])).toEqual([]);
  });

  test('a node whose link was lost in the crash is refused all the same', async () => {
    const { directory, exports, linked } = setUp();
    await exports.refuseAfterCrash('boot 1', []);
    expect(await exports.refuseAfterCrash('boot 2', [blue])).toEqual([blue]);
    expect(linked('overlay', blue)).toBe(join(directory, 'reboot.img'));
  });

  test('the next boot of the node gives it its own disk again', async () => {
    const { exports, linked } = setUp();
    await exports.refuseAfterCrash('boot 1', []);
    await exports.place(red, disksOf('red'));
    await exports.refuseAfterCrash('boot 2', []);
    await exports.place(red, disksOf('red'));
    expect(linked('overlay', red)).toBe('/overlays/red/a.img');
  });

  test('the first start ever, and one that was killed half-way, leave nothing half-made', async () => {
    const { directory, exports } = setUp();
    expect(await exports.refuseAfterCrash('boot 1', [])).toEqual([]);
    expect(readdirSync(directory)).toEqual(['machine-boot']);
    expect(readFileSync(join(directory, 'machine-boot'), 'utf8')).toBe('boot 1');
  });
});

describe('links', () => {
  test('of a boot are on the disk before its plan is answered', async () => {
    const { directory, exports, linked } = setUp();
    const handle = await open(directory, 'r');
    const synced: string[] = [];
    const spy = vi.spyOn(Object.getPrototypeOf(handle) as FileHandle, 'sync').mockImplementation(function sync(this: FileHandle) {
      synced.push(`${readlinkSync(`/proc/self/fd/${this.fd}`)} ${linked('root', red)} ${linked('overlay', red)}`);
      return Promise.resolve();
    });
    try {
      await exports.place(red, disksOf('red'));
    } finally {
      spy.mockRestore();
      await handle.close();
    }
    const links = '/images/root.img /overlays/red/a.img';
    expect(synced.toSorted()).toEqual(['data', 'overlay', 'root'].map((name) => `${join(directory, name)} ${links}`));
  });

  test('to a disk that goes tell its node to restart, and no other node', async () => {
    const { directory, exports, linked } = setUp();
    await exports.place(red, disksOf('red'));
    await exports.place(blue, { ...disksOf('blue'), data: '/data/blue/data.img' });
    await exports.refuse(['/overlays/red/b.img', '/overlays/re', '/data/blue']);
    expect([linked('overlay', red), linked('overlay', blue)]).toEqual(['/overlays/red/a.img', '/overlays/blue/a.img']);
    expect(linked('data', blue)).toBe(join(directory, 'reboot.img'));
    await exports.refuse(['/overlays/red/a.img']);
    expect(linked('overlay', red)).toBe(join(directory, 'reboot.img'));
    expect(readFileSync(linked('overlay', red), 'latin1').slice(0, 16)).toBe('CARDLESS REBOOT\n');
  });

  test('say for a minute after a start whose node may be about to come back', async () => {
    const { directory, exports } = setUp();
    await exports.place(red, disksOf('red'));
    expect(await exports.isAwaited(['/overlays/red/a.img'])).toBe(false);
    const clock = new FakeClock();
    const next = new Exports(directory);
    next.startServing(clock);
    expect(await next.isAwaited(['/overlays/red/a.img'])).toBe(true);
    expect(await next.isAwaited(['/overlays/red'])).toBe(true);
    expect(await next.isAwaited(['/overlays/red/b.img', '/overlays/blue'])).toBe(false);
    clock.after(60_000, () => {});
    await clock.run(() => false);
    expect(await next.isAwaited(['/overlays/red/a.img'])).toBe(false);
  });
});
