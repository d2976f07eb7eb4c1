import { expect, test } from 'vitest';
import { isKernelArgument } from '#src/domain/kernel-arguments.ts';
import { nearest } from '#src/domain/nearest.ts';

test.each([
  ['pakages', 'packages'],
  ['grups', 'groups'],
  ['timezone', 'timeZone'],
  ['serivces', 'services'],
  ['xyzzy', undefined],
  ['', undefined],
])('for %s, %s was meant', (word, meant) => {
  expect(nearest(word, ['services', 'packages', 'groups', 'timeZone'])).toBe(meant);
});

test('without names, nothing was meant', () => {
  expect(nearest('a', [])).toBeUndefined();
});

test.each(['cgroup_enable=memory', 'quiet', 'pcie_aspm=off', 'console=ttyAMA0,115200', 'systemd.unit=rescue.target'])(
  '%s is a kernel argument',
  (text) => {
    expect(isKernelArgument(text)).toBe(true);
  },
);

test.each([
  '',
  'two words',
  'a=$(reboot)',
  "a='b'",
  'a;b',
  'cardless.server=http://x',
  'BOOTIF=01-02',
  'init=/bin/sh',
  'root=/dev/sda',
  'ä',
  'a\nb',
])('"%s" is none that an image may bring', (text) => {
  expect(isKernelArgument(text)).toBe(false);
});
