import { generateKeyPairSync } from 'node:crypto';
import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { loadBootKey } from '#src/daemon/boot-key.ts';

const pkcs8 = { type: 'pkcs8', format: 'pem' } as const;

function keyFile(text: string | Buffer): string {
  const file = join(mkdtempSync(join(tmpdir(), 'cardless-')), 'key.pem');
  writeFileSync(file, text);
  return file;
}

test.each(['pkcs1', 'pkcs8'] as const)('an RSA key of 2048 bits in %s is taken', async (type) => {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const key = await loadBootKey(keyFile(privateKey.export({ type, format: 'pem' })));
  expect(key.asymmetricKeyDetails?.modulusLength).toBe(2048);
});

test.each([
  ['4096 bits', generateKeyPairSync('rsa', { modulusLength: 4096 }).privateKey.export(pkcs8), 'is rsa of 4096 bits'],
  ['another kind', generateKeyPairSync('ed25519').privateKey.export(pkcs8), 'is ed25519'],
  [
    'the public half',
    generateKeyPairSync('rsa', { modulusLength: 2048 }).publicKey.export({ type: 'spki', format: 'pem' }),
    'is not a private key',
  ],
  [
    'a passphrase',
    generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey.export({ ...pkcs8, cipher: 'aes-256-cbc', passphrase: 'x' }),
    'without a passphrase',
  ],
  ['no key', 'hello', 'is not a private key'],
])('%s is refused with what to do', async (_name, text, message) => {
  await expect(loadBootKey(keyFile(text))).rejects.toMatchObject({
    code: 'bad-input',
    message: expect.stringContaining(message),
    hint: expect.stringContaining('openssl genrsa'),
  });
});

test('a file that is not there is named', async () => {
  await expect(loadBootKey('/nonexistent.pem')).rejects.toMatchObject({
    code: 'bad-input',
    message: expect.stringContaining('/nonexistent.pem'),
  });
});
