import { describe, expect, test } from 'vitest';
import { readConfigTxt } from '#src/sim/config-txt.ts';

const board = { models: ['pi3', 'pi3+'], serial: 'b66c4c16' };
const overlays = (...lines: string[]): readonly string[] => readConfigTxt(Buffer.from(lines.join('\n')), board).overlays;

describe('filters of config.txt', () => {
  test.each<[string, string[], string[]]>([
    ['no filter', ['dtoverlay=a'], ['a']],
    ['the own model', ['[pi3+]', 'dtoverlay=a'], ['a']],
    ['the base model', ['[pi3]', 'dtoverlay=a'], ['a']],
    ['another model', ['[pi4]', 'dtoverlay=a'], []],
    ['filters of one kind replace one another', ['[pi4]', '[pi3]', 'dtoverlay=a'], ['a']],
    ['filters of two kinds must both hold', ['[pi3]', '[0x00000001]', 'dtoverlay=a'], []],
    ['the own serial', ['[0xb66c4c16]', 'dtoverlay=a'], ['a']],
    ['[all] resets', ['[pi4]', 'dtoverlay=a', '[all]', 'dtoverlay=b'], ['b']],
    ['[none] holds for nobody', ['[none]', 'dtoverlay=a'], []],
    ['conditions that do not hold', ['[gpio4=1]', 'dtoverlay=a'], []],
    ['comments', ['# dtoverlay=a', 'dtoverlay=b'], ['b']],
    ['parameters are not part of the name', ['dtoverlay=a,x=1', 'dtoverlay=b:y'], ['a', 'b']],
  ])('%s', (_name, lines, want) => {
    expect(overlays(...lines)).toEqual(want);
  });
  test('everything after a byte that is not ASCII is dropped', () => {
    expect(readConfigTxt(Buffer.from('kernel=a.img\n# caf\u00e9\nkernel=b.img\n'), board).kernel).toBe('a.img');
  });
  test('later keys win, and the kernel has a default', () => {
    expect(readConfigTxt(Buffer.from('kernel=a\nkernel=b\n'), board).kernel).toBe('b');
    expect(readConfigTxt(Buffer.from('arm_64bit=1\n'), board).kernel).toBe('kernel8.img');
  });
});
