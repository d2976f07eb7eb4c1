import { expect, test } from 'vitest';
import { parsePublicKey } from '#src/domain/public-key.ts';
import { operatorKey } from '../support/nodes.ts';

test('a key with and without a comment', () => {
  expect(parsePublicKey(` ${operatorKey}\n`)).toBe(operatorKey);
  const [type, base64] = operatorKey.split(' ');
  expect(parsePublicKey(`${type} ${base64}`)).toBe(`${type} ${base64}`);
});

test.each([
  ['cut off', operatorKey.slice(0, 30)],
  ['of another type than it says', operatorKey.replace('ssh-ed25519', 'ssh-rsa')],
  ['two lines', `${operatorKey}\n${operatorKey}`],
  ['a word', 'hello'],
  ['options', `command="x" ${operatorKey}`],
])('%s is refused', (_what, text) => {
  expect(() => parsePublicKey(text)).toThrow(/is not a public SSH key/);
});

test('a private key is named as such, and not shown', () => {
  expect(() => parsePublicKey('-----BEGIN OPENSSH PRIVATE KEY-----')).toThrow(/^This is a private key$/);
});
