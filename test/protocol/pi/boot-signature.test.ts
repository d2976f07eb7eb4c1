import { createHash, createSign, createVerify, generateKeyPairSync } from 'node:crypto';
import { expect, test } from 'vitest';
import { encodeBootSignature } from '#src/protocol/pi/boot-signature.ts';

test('boot.sig: the digest, the time and the signature, a line each; the public key accepts it', () => {
  const { privateKey, publicKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const image = Buffer.from('a boot partition');
  const text = encodeBootSignature({
    sha256: createHash('sha256').update(image).digest(),
    seconds: 1_789_000_000.9,
    rsa2048: createSign('sha256').update(image).sign(privateKey),
  });
  const [digest, time, signature = '', end] = text.split('\n');
  expect(digest).toBe(createHash('sha256').update(image).digest('hex'));
  expect(time).toBe('ts: 1789000000');
  expect(signature).toMatch(/^rsa2048: [0-9a-f]{512}$/);
  expect(end).toBe('');
  const bytes = Buffer.from(signature.slice('rsa2048: '.length), 'hex');
  expect(createVerify('sha256').update(image).verify(publicKey, bytes)).toBe(true);
  expect(createVerify('sha256').update('another one').verify(publicKey, bytes)).toBe(false);
});
