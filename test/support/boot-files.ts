/** An image whose boot files have the sizes that a test wants and bytes that never repeat. */
import { createCipheriv } from 'node:crypto';
import { mkdir, mkdtemp, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseImageName } from '#src/domain/image.ts';
import { publishImage } from '#src/images/publish.ts';

/** As random as AES; the same for the same size. */
export function contentOf(size: number): Buffer {
  const stream = createCipheriv('aes-128-ctr', Buffer.alloc(16, String(size)), Buffer.alloc(16));
  return stream.update(Buffer.alloc(size));
}

/** Each file is called `size-<bytes>`. */
export async function publishBootFiles(
  state: string,
  sizes: readonly number[],
  texts: Readonly<Record<string, Buffer>> = {},
): Promise<void> {
  const draft = await mkdtemp(join(tmpdir(), 'cardless-draft-'));
  await mkdir(join(draft, 'boot'));
  for (const size of sizes) {
    await writeFile(join(draft, 'boot', `size-${size}`), contentOf(size));
  }
  for (const [name, bytes] of Object.entries(texts)) {
    await writeFile(join(draft, 'boot', name), bytes);
  }
  await writeFile(join(draft, 'root.img'), Buffer.alloc(65_536, 'root'));
  const facts = { name: parseImageName('debian-13'), arch: 'arm64', kernelVersion: 'test', rootFormat: 'erofs' } as const;
  await publishImage(draft, facts, join(state, 'images'), new Date());
}
