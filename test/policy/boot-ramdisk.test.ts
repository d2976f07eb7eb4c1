import { describe, expect, test } from 'vitest';
import { parseImageDigest, parseImageName } from '#src/domain/image.ts';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { parseNodeName } from '#src/domain/node.ts';
import { stageOfFile } from '#src/policy/boot-progress.ts';
import { ramdiskBytes, ramdiskFiles, ramdiskWarnings } from '#src/policy/boot-ramdisk.ts';
import { innerConfigTxt, renderConfigTxt } from '#src/policy/render-config.ts';
import { isExpectedMissing } from '#src/policy/tftp-path.ts';

const file = (path: string, bytes = 1000) => ({ path, bytes, sha256: '' });
const mib = 2 ** 20;

describe('what is in boot.img', () => {
  test('the boot files of the image, without its root and without firmware that nobody asks for', () => {
    const names = ['start.elf', 'start4.elf', 'fixup4.dat', 'kernel8.img', 'overlays/a.dtbo', 'start_file.txt', 'bootcode.bin'];
    const left = [
      'start_x.elf',
      'start_cd.elf',
      'start_db.elf',
      'start4x.elf',
      'start4cd.elf',
      'start4db.elf',
      'fixup_x.dat',
      'fixup4cd.dat',
    ];
    const files = [...names, ...left].map((name) => file(`boot/${name}`));
    expect(ramdiskFiles([...files, file('root.img', 2 ** 30)])).toEqual(names.map((path) => ({ file: `boot/${path}`, path })));
  });
  test.each([
    ['little', [file('boot/a')], 17 * mib],
    ['40 MB', [file('boot/a', 40e6)], 39 * mib],
    ['many small ones, a cluster each', Array.from({ length: 10_000 }, (_, index) => file(`boot/${index}`, 1)), 43 * mib],
  ])('%s', (_name, files, bytes) => {
    expect(ramdiskBytes(files)).toBe(bytes);
  });
});

test.each([
  ['tftp', 67_107_840, []],
  ['tftp', 67_107_841, [/2022-09/]],
  ['tftp', 96_205_381, [/2025-09-23/, /2022-09/]],
  ['tftp', 128 * mib + 1, [/no board/, /2025-09-23/, /2022-09/]],
  ['http', 128 * mib, []],
  ['http', 128 * mib + 1, [/no board/]],
] as const)('a boot.img by %s of %i bytes', (via, bytes, warnings) => {
  expect(ramdiskWarnings(bytes, via)).toEqual(warnings.map((pattern) => expect.stringMatching(pattern)));
});

test('config.txt leads to boot.img, and the one within does not', () => {
  const facts = {
    node: parseNodeName('red5'),
    image: { name: parseImageName('debian-13'), digest: parseImageDigest('ab'.repeat(32)), arch: 'arm64' as const },
    server: parseIpv4('10.77.0.1'),
    httpPort: 8067,
    token: 'secret',
  };
  const outer = renderConfigTxt({ ...facts, bootRamdisk: true });
  expect(outer).toMatch(/^boot_ramdisk=1$/m);
  expect(innerConfigTxt(outer)).toBe(renderConfigTxt(facts));
  expect(renderConfigTxt(facts)).not.toContain('boot_ramdisk');
});

test('a board that has boot.img has its kernel; one without key needs no boot.sig', () => {
  expect(stageOfFile('boot.img')).toBe('kernel');
  expect(isExpectedMissing('boot.sig')).toBe(true);
});
