/** Container images as files: an OCI layout, or what `docker save` writes. */
import { createHash } from 'node:crypto';
import { mkdir, readFile, symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { gzipSync } from 'node:zlib';
import { pack } from 'tar-stream';
import { must, writeTree } from './pi-card.ts';

/** A layer that a test writes name by name, whatever a real program would say to them. */
export async function layer(entries: readonly (readonly [name: string, content: string | { readonly link: string }])[]): Promise<Buffer> {
  const archive = pack();
  for (const [name, content] of entries) {
    if (name.endsWith('/')) {
      archive.entry({ name, type: 'directory', mode: 0o755 });
    } else if (typeof content === 'string') {
      archive.entry({ name, mode: 0o644 }, content);
    } else {
      archive.entry({ name, type: 'symlink', linkname: content.link });
    }
  }
  archive.finalize();
  return await buffer(archive);
}

export async function layerOf(tree: string): Promise<Buffer> {
  const file = `${tree}.tar`;
  await must('tar', '-C', tree, '--xattrs', '--xattrs-include=*', '--numeric-owner', '-cf', file, '.');
  return await readFile(file);
}

interface Descriptor {
  readonly digest: string;
  readonly size: number;
  readonly mediaType: string;
}

export async function ociLayout(folder: string, images: Readonly<Record<string, readonly Buffer[]>>): Promise<string> {
  const blob = async (content: Buffer, mediaType: string): Promise<Descriptor> => {
    const hex = createHash('sha256').update(content).digest('hex');
    await writeTree(folder, { [`blobs/sha256/${hex}`]: content });
    return { digest: `sha256:${hex}`, size: content.length, mediaType };
  };
  const json = (value: unknown, type: string): Promise<Descriptor> =>
    blob(Buffer.from(JSON.stringify(value)), `application/vnd.oci.image.${type}.v1+json`);
  const manifests: object[] = [];
  for (const [architecture, layers] of Object.entries(images)) {
    const diffIds = layers.map((bytes) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`);
    const config = await json({ architecture, os: 'linux', rootfs: { type: 'layers', diff_ids: diffIds } }, 'config');
    const packed: Descriptor[] = [];
    for (const bytes of layers) {
      packed.push(await blob(gzipSync(bytes), 'application/vnd.oci.image.layer.v1.tar+gzip'));
    }
    const manifest = await json({ schemaVersion: 2, config, layers: packed }, 'manifest');
    manifests.push({ ...manifest, platform: { os: 'linux', architecture } });
  }
  const attestation = { ...(await json({}, 'manifest')), platform: { os: 'unknown', architecture: 'unknown' } };
  await writeTree(folder, {
    'oci-layout': '{"imageLayoutVersion":"1.0.0"}',
    'index.json': JSON.stringify({ schemaVersion: 2, manifests: [...manifests, attestation] }),
  });
  return folder;
}

/** A layer that is there twice is a link the second time, as docker writes it. */
export async function dockerSave(folder: string, architecture: string, layers: readonly Buffer[]): Promise<string> {
  const digests = layers.map((bytes) => createHash('sha256').update(bytes).digest('hex'));
  const config = { architecture, os: 'linux', rootfs: { type: 'layers', diff_ids: digests.map((digest) => `sha256:${digest}`) } };
  const isAgain = (index: number): boolean => digests.indexOf(digests[index] ?? '') < index;
  const ids = digests.map((digest, index) => (isAgain(index) ? `${index}-${digest}` : digest));
  await writeTree(folder, {
    'config.json': JSON.stringify(config),
    'manifest.json': JSON.stringify([{ Config: 'config.json', RepoTags: ['test:latest'], Layers: ids.map((id) => `${id}/layer.tar`) }]),
    ...Object.fromEntries(layers.flatMap((bytes, index) => (isAgain(index) ? [] : [[`${ids[index]}/layer.tar`, bytes]]))),
  });
  for (const [index, id] of ids.entries()) {
    if (isAgain(index)) {
      await mkdir(join(folder, id));
      await symlink(`../${digests[index]}/layer.tar`, join(folder, id, 'layer.tar'));
    }
  }
  const file = join(folder, '../saved.tar');
  await must('tar', '-C', folder, '-cf', file, '.');
  return file;
}
