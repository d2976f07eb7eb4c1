import { expect, test } from 'vitest';
import { type KernelFacts, planKernel } from '#src/images/commit/kernel.ts';

const facts: KernelFacts = { arch: 'amd64', current: ['6.1'], before: ['6.1'], now: ['6.1'], kernels: [] };

test('the same kernel, or the one that was installed', () => {
  expect(planKernel(facts)).toEqual({ kind: 'same' });
  expect(planKernel({ ...facts, now: ['6.1', '6.2'], kernels: ['6.2'] })).toEqual({ kind: 'new', version: '6.2' });
  expect(planKernel({ ...facts, now: ['6.2'], kernels: ['6.2'] })).toEqual({ kind: 'new', version: '6.2' });
});

test.each([
  ['its modules are gone', { now: [] }, /modules of the kernel 6\.1.*were removed/],
  ['two new ones', { now: ['6.1', '6.2', '6.3'], kernels: ['6.2', '6.3'] }, /2 new kernels: 6\.2, 6\.3/],
  ['modules without a kernel', { now: ['6.1', '6.2'] }, /no \/boot\/vmlinuz-6\.2/],
  ['one of two that boards boot is gone', { current: ['6.1', '6.1-v8'] }, /modules of the kernel 6\.1-v8.*were removed/],
  ['a board', { arch: 'arm64', now: ['6.1', '6.2'], kernels: ['6.2'] }, /device trees are not committed/],
] as const)('%s: refused', (_name, change, message) => {
  expect(() => planKernel({ ...facts, ...change })).toThrow(message);
});
