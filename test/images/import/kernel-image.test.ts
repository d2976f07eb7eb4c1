import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { readKernel, readUnpacked } from '#src/images/import/kernel-image.ts';
import { arm64Kernel, bzImage } from '../../support/pi-card.ts';

function zImage(packed: Buffer): Buffer {
  const head = Buffer.alloc(0x4000, 1);
  head.writeUInt32LE(0x016f2818, 0x24);
  return Buffer.concat([head, packed, Buffer.alloc(900, 7)]);
}

test.each([
  ['arm64 Image', arm64Kernel('6.12.25+rpt-rpi-v8'), { kind: 'kernel', arch: 'arm64', version: '6.12.25+rpt-rpi-v8' }],
  ['gzip', Buffer.concat([gzipSync(arm64Kernel('6.1')), Buffer.alloc(600)]), { kind: 'gzip', from: 0, arch: undefined }],
  ['bzImage', bzImage('6.12.9-amd64'), { kind: 'kernel', arch: 'amd64', version: '6.12.9-amd64' }],
  ['bzImage of 32 bits', bzImage('6.12.9-686', false), { kind: 'kernel', arch: 'i386', version: '6.12.9-686' }],
  ['zImage', zImage(gzipSync(Buffer.alloc(9000))), { kind: 'gzip', from: 0x4000, arch: 'armhf' }],
  ['a version that is a path', bzImage('../../etc'), { kind: 'other', reason: 'it does not tell its version' }],
  ['text', Buffer.alloc(5000, 'text'), { kind: 'other', reason: 'it is no Linux kernel' }],
  ['nothing', Buffer.alloc(0), { kind: 'other', reason: 'it is too short for a kernel' }],
])('%s', (_, bytes, want) => {
  expect(readKernel(bytes)).toEqual(want);
});

test('what a zImage unpacks to tells its version', () => {
  const inner = Buffer.concat([Buffer.alloc(1000, 1), Buffer.from('Linux version 6.12.25+rpt-rpi-v7l (x) #1\0'), Buffer.alloc(100)]);
  expect(readUnpacked(inner, 'armhf')).toEqual({ kind: 'kernel', arch: 'armhf', version: '6.12.25+rpt-rpi-v7l' });
  expect(readUnpacked(inner, undefined)).toEqual({ kind: 'other', reason: 'it is no Linux kernel' });
});

test('a kernel is not searched for its version without end', () => {
  const withFalseFinds = (count: number): Buffer =>
    Buffer.concat([
      arm64Kernel('x').subarray(0, 60_000),
      Buffer.from('Linux version %s\0'.repeat(count)),
      Buffer.from('Linux version 6.1 (x)\0'),
    ]);
  expect(readKernel(withFalseFinds(99))).toMatchObject({ kind: 'kernel', version: '6.1' });
  expect(readKernel(withFalseFinds(100))).toEqual({ kind: 'other', reason: 'it does not tell its version' });
});

test('any bytes get an answer', () => {
  const heads = [
    Buffer.alloc(0),
    arm64Kernel('6.1').subarray(0, 100),
    bzImage('6').subarray(0, 0x240),
    zImage(Buffer.alloc(0)).subarray(0, 0x30),
  ];
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 3000 }), fc.constantFrom(...heads), (random, head) => {
      expect(['kernel', 'gzip', 'other']).toContain(readKernel(Buffer.concat([head, random])).kind);
    }),
  );
});
