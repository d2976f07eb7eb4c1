import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

export interface OverlayOfImage {
  readonly node: string;
  /** Of the image that it belongs to. */
  readonly digest: string;
}

/** Which versions of images the overlays on disk belong to: what is kept for a node begins with the digest. */
export async function listOverlayDigests(directory: string): Promise<OverlayOfImage[]> {
  const entries = await readdir(directory, { withFileTypes: true }).catch(() => []);
  const nodes = entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name);
  const found = await Promise.all(
    nodes.map(async (node) => {
      const names = await readdir(join(directory, node)).catch(() => []);
      const digests = names.flatMap((name) => /^[0-9a-f]{64}(?![0-9a-f])/.exec(name)?.[0] ?? []);
      return [...new Set(digests)].map((digest) => ({ node, digest }));
    }),
  );
  return found.flat();
}
