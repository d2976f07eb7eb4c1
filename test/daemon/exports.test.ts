import { mkdtempSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { Exports } from '#src/daemon/exports.ts';
import { parseIpv4 } from '#src/domain/ipv4.ts';

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
