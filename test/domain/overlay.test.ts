import { describe, expect, test } from 'vitest';
import { labelOfTime, parseDiskSize, parseRootPath, parseSnapshotLabel } from '#src/domain/overlay.ts';

describe('words of overlays', () => {
  test.each([
    ['before-upgrade', true],
    ['20261121-093015', true],
    ['v1.2_3', true],
    ['', false],
    ['Before', false],
    ['.hidden', false],
    ['a/b', false],
    ['a@b', false],
    ['x.img', false],
    ['x.partial', false],
    ['a'.repeat(64), false],
  ])('label %j: %s', (label, isGood) => {
    expect(isGood ? parseSnapshotLabel(label) : () => parseSnapshotLabel(label)).toSatisfy((value: unknown) => {
      if (typeof value !== 'function') {
        return value === label;
      }
      expect(value).toThrow('is not a label');
      return true;
    });
  });
  test('a label of a time sorts as times do', () => {
    expect(labelOfTime(Date.UTC(2026, 10, 21, 9, 30, 15))).toBe('20261121-093015');
  });
  test.each<[string, number]>([
    ['64M', 67_108_864],
    ['8G', 8_589_934_592],
    ['1.5G', Number.NaN],
    ['8GiB', 8_589_934_592],
    ['8gb', 8_589_934_592],
    ['67108865', 67_112_960],
    ['63M', Number.NaN],
    ['9T', Number.NaN],
    ['', Number.NaN],
    ['-8G', Number.NaN],
    ['8 G', Number.NaN],
  ])('size %j is %d', (text, bytes) => {
    if (Number.isNaN(bytes)) {
      expect(() => parseDiskSize(text)).toThrow('is not a size of a disk');
    } else {
      expect(parseDiskSize(text)).toBe(bytes);
    }
  });
  test('a path to carry over stays within the root', () => {
    expect(['/home/ann/', 'etc//motd', './x'].map(parseRootPath)).toEqual(['home/ann', 'etc/motd', 'x']);
    for (const path of ['/', '', '..', '/home/../etc', 'a\nb']) {
      expect(() => parseRootPath(path)).toThrow('is not a path that can be carried over');
    }
  });
});
