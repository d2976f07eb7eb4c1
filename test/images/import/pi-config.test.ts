import { describe, expect, test } from 'vitest';
import { readPiConfig } from '#src/images/import/pi-config.ts';
import { piKernelLines, serialConsole } from '#src/policy/pi-kernels.ts';
import { readConfigTxt } from '#src/sim/config-txt.ts';

describe("an imported system's config.txt", () => {
  test.each([
    [
      'hardware is kept',
      'dtparam=spi=on\ndtoverlay=vc4-kms-v3d,cma-256\ngpu_mem=16\n',
      ['dtparam=spi=on', 'dtoverlay=vc4-kms-v3d,cma-256', 'gpu_mem=16'],
      [],
    ],
    [
      'what chooses files is dropped',
      'os_prefix=a/\nkernel=mine\ninitramfs x followkernel\ninclude other.txt\n',
      [],
      ['os_prefix=a/', 'kernel=mine', 'initramfs x followkernel', 'include other.txt'],
    ],
    ['what the server says itself is not mentioned', 'arm_64bit=1\nauto_initramfs=1\nenable_uart=1\n', [], []],
    ['filters of models are kept with what they are for', '[pi4]\narm_boost=1\n[all]\n', ['[pi4]', 'arm_boost=1', '[all]'], []],
    ['below another filter nothing holds for all', '[gpio4=1]\ndtparam=spi=on\n', [], ['[gpio4=1]', 'dtparam=spi=on']],
    ['a filter does not leak', '[pi5]\ndtparam=a=b', ['[pi5]', 'dtparam=a=b', '[all]'], []],
    [
      'other bytes than ASCII, and long lines',
      `dtparam=\u00e4\ndtparam=${'x'.repeat(100)}\n`,
      [],
      ['dtparam=\u00e4', `dtparam=${'x'.repeat(100)}`],
    ],
  ])('%s', (_, text, kept, dropped) => {
    expect(readPiConfig(text)).toMatchObject({ kept, dropped });
  });
  test('is kept to a length that old firmware takes', () => {
    const { kept, dropped } = readPiConfig('dtparam=i2c_arm=on\n'.repeat(1000));
    expect(kept.join('\n').length).toBeLessThan(1500);
    expect(kept.length + dropped.length).toBe(1000);
  });
});

describe('which kernel a model boots', () => {
  const kernel = (file: string) => ({ file, version: '6.12', initramfs: file.replace('kernel', 'initramfs') });
  const boots = (arch: 'arm64' | 'armhf', files: readonly string[], ...models: string[]): object => {
    const text = piKernelLines({ arch, kernels: files.map(kernel) }).join('\n');
    const { kernel: found, initramfs } = readConfigTxt(Buffer.from(text), { models, serial: '1' });
    return { found, initramfs };
  };
  test.each([
    ['pi3', 'kernel8.img'],
    ['pi02', 'kernel8.img'],
    ['pi4', 'kernel8.img'],
    ['pi5', 'kernel_2712.img'],
  ])('%s of two: %s, with its own initramfs alone', (model, file) => {
    expect(boots('arm64', ['kernel8.img', 'kernel_2712.img'], model)).toEqual({ found: file, initramfs: [kernel(file).initramfs] });
  });
  test('a Pi 5 takes kernel8.img where there is no other', () => {
    expect(boots('arm64', ['kernel8.img', 'kernel7.img'], 'pi5')).toMatchObject({ found: 'kernel8.img' });
  });
  test.each([
    ['pi3', 'kernel7.img'],
    ['pi4', 'kernel8.img'],
    ['pi5', 'kernel8.img'],
  ])('of a 32-bit system with both kinds, %s boots %s', (model, file) => {
    expect(boots('armhf', ['kernel7.img', 'kernel7l.img', 'kernel8.img'], model)).toMatchObject({ found: file });
  });
  test('an image without a list has one kernel for all', () => {
    expect(piKernelLines({ arch: 'arm64' })).toEqual(['arm_64bit=1', 'kernel=kernel8.img', 'initramfs initramfs.img followkernel']);
  });
});

test.each([
  ['6.12.25+rpt-rpi-v8', 'serial0'],
  ['5.10.103-v8+', 'serial0'],
  ['6.8.0-1010-raspi', 'serial0'],
  ['6.12.117+deb13-arm64', 'ttyS1'],
])('the serial console under %s is %s', (version, name) => {
  expect(serialConsole({ kernels: [{ file: 'kernel8.img', version, initramfs: 'initramfs.img' }] })).toBe(name);
});
