/**
 * A root out of a container image: an OCI layout (github.com/opencontainers/image-spec), or what `docker save` writes.
 * Every layer is unpacked by itself, its whiteouts become those of overlayfs, and overlayfs lays them over one another:
 * so a whiteout never reaches outside of its own layer, whatever links there are.
 */
import { lstat, mkdir, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { systemCode, UserError } from '../../domain/errors.ts';
import type { Architecture } from '../../domain/image.ts';
import { removeTree } from '../../process/remove-tree.ts';
import { containedCommand, run } from '../../process/run.ts';
import { type OnProgress, section } from '../progress.ts';
import { openTree, readHead } from '../tree-access.ts';
import { unpackConfined } from './confined-tar.ts';
import { decompress, requireSpace } from './decompress.ts';
import { sha256Of } from './obtain.ts';
import { sniff, sniffBytes } from './sniff.ts';

const Digest = z.string().regex(/^sha256:[0-9a-f]{64}$/, 'is not a sha256 digest');
const Descriptor = z.object({
  digest: Digest,
  mediaType: z.string().exactOptional(),
  platform: z.object({ architecture: z.string(), variant: z.string().exactOptional() }).exactOptional(),
});
const Index = z.object({ manifests: z.array(Descriptor) });
const Manifest = z.object({ config: Descriptor, layers: z.array(Descriptor).max(500) });
const Either = z.union([Manifest, Index]);
const DockerSave = z.array(z.object({ Config: z.string(), Layers: z.array(z.string()).max(500) })).min(1);
const Config = z.object({ architecture: z.string(), rootfs: z.object({ diff_ids: z.array(Digest) }) });

const ourNames: Readonly<Record<string, string>> = { arm64: 'arm64', amd64: 'amd64', arm: 'armhf' };

export interface OciOptions {
  readonly directory: string;
  readonly arch: Architecture | undefined;
  readonly work: string;
  readonly tree: string;
  readonly signal: AbortSignal;
  readonly onProgress: OnProgress;
}

/** A file of the layout, and what it must hash to: packed for `digest`, unpacked for `diffId`. */
interface Layer {
  readonly path: string;
  readonly digest?: string;
  readonly diffId?: string;
}

/** Also of an archive that was unpacked. */
export async function isContainerImage(directory: string): Promise<boolean> {
  const names = await Promise.all(['oci-layout', 'manifest.json'].map((name) => readJson(directory, name)));
  return names[0] !== undefined || DockerSave.safeParse(names[1]).success;
}

/** @throws UserError bad-input */
export async function unpackContainerImage(options: OciOptions): Promise<{ readonly notes: readonly string[] }> {
  const { directory, work, tree, signal, onProgress } = options;
  const layers = await findLayers(options);
  const places = layers.map((_, index) => join(work, 'layers', String(index)));
  await mkdir(join(work, 'layers', 'none'), { recursive: true });
  for (const [index, layer] of layers.entries()) {
    const part = section(onProgress, (0.8 * index) / layers.length, (0.8 * (index + 1)) / layers.length);
    await unpackLayer(directory, layer, places[index] ?? '', { ...options, onProgress: part });
  }
  onProgress({ phase: 'putting the layers together', fraction: 0.8 });
  // The topmost first. overlayfs wants two at least.
  const lower = [...layers.map((_, index) => String(index)).toReversed(), 'none'].join(':');
  const prepare = 'cd "$1"; mount -t overlay overlay -o "lowerdir=$2" "$mnt"; cd /';
  const onBytes = (): void => {};
  await unpackConfined({ kind: 'directory', prepare, args: [join(work, 'layers'), lower] }, { work, tree, signal, onBytes });
  await removeTree(join(work, 'layers'));
  return { notes: [`${layers.length} layers of a container image`] };
}

async function findLayers(options: OciOptions): Promise<Layer[]> {
  const { directory } = options;
  const index = await readJson(directory, 'index.json');
  if (index !== undefined) {
    const manifest = await chooseManifest(parse(Index, index, 'index.json'), options, 0);
    const config = parse(Config, await readBlob(directory, manifest.config.digest, options.signal), 'the configuration');
    requireArch(config.architecture, options.arch);
    return manifest.layers.map(({ digest }) => ({ path: blobPath(digest), digest }));
  }
  const [saved, another] = parse(DockerSave, await readJson(directory, 'manifest.json'), 'manifest.json');
  if (!saved || another) {
    throw new UserError('bad-input', 'The archive has several images', { hint: 'Save the one that is meant: docker save IMAGE -o FILE' });
  }
  const config = parse(Config, await readJson(directory, saved.Config), saved.Config);
  requireArch(config.architecture, options.arch);
  if (config.rootfs.diff_ids.length !== saved.Layers.length) {
    throw new UserError(
      'bad-input',
      `The image has ${saved.Layers.length} layers and ${config.rootfs.diff_ids.length} checksums of layers`,
    );
  }
  return saved.Layers.map((path, layer) => ({ path, diffId: config.rootfs.diff_ids[layer] ?? '' }));
}

function requireArch(found: string, wanted: Architecture | undefined): void {
  if (wanted !== undefined && ourNames[found] !== wanted) {
    throw new UserError('bad-input', `The image is for ${ourNames[found] ?? found} and not for ${wanted}`);
  }
}

const maxDepth = 3;
const maxJsonBytes = 4 * 1024 ** 2;

async function chooseManifest(index: z.infer<typeof Index>, options: OciOptions, depth: number): Promise<z.infer<typeof Manifest>> {
  // Attestations and signatures say that they are for "unknown".
  const usable = index.manifests.filter(({ platform }) => platform === undefined || ourNames[platform.architecture] !== undefined);
  const fits = usable.filter(({ platform }) => platform === undefined || ourNames[platform.architecture] === options.arch);
  const [chosen, another] = options.arch === undefined || (usable.length === 1 && usable[0]?.platform === undefined) ? usable : fits;
  const offered = [
    ...new Set(index.manifests.map(({ platform }) => ourNames[platform?.architecture ?? ''] ?? platform?.architecture ?? 'unknown')),
  ];
  if (!chosen) {
    throw new UserError(
      'bad-input',
      `The image is not for ${options.arch ?? 'any architecture that is supported'}; it is for: ${offered.join(', ')}`,
    );
  }
  if (another) {
    throw new UserError('bad-input', `The layout has several images, for: ${offered.join(', ')}`, {
      hint: 'Choose one with --arch; of one architecture there must be one',
    });
  }
  const content = parse(Either, await readBlob(options.directory, chosen.digest, options.signal), chosen.digest);
  if ('layers' in content) {
    return content;
  }
  if (depth >= maxDepth) {
    throw new UserError('bad-input', 'The indexes of the layout lead to one another without end');
  }
  return await chooseManifest(content, options, depth + 1);
}

async function unpackLayer(directory: string, layer: Layer, target: string, options: OciOptions): Promise<void> {
  const { work, signal, onProgress } = options;
  const name = layer.digest ?? layer.path;
  const file = await plainFile(directory, layer.path);
  if (layer.digest !== undefined) {
    await requireDigest(file, layer.digest, name, signal);
  }
  const kind = sniff(await readHead(file, sniffBytes));
  const archive = kind.kind === 'compressed' ? join(work, 'layer.tar') : file;
  if (kind.kind === 'compressed') {
    const progress = (fraction: number): void => onProgress({ phase: 'unpacking layers', fraction: fraction / 2 });
    await decompress({ input: file, output: archive, by: kind.by, signal, onProgress: progress });
  }
  if (layer.diffId !== undefined) {
    await requireDigest(archive, layer.diffId, name, signal);
  }
  onProgress({ phase: 'unpacking layers', fraction: 0.5 });
  await requireSpace((await stat(archive)).size, work, `Layer ${name}`);
  await unpackConfined({ kind: 'archive', file: archive }, { work, tree: target, signal, onBytes: () => {} });
  if (archive !== file) {
    await rm(archive);
  }
  const [program, args] = containedCommand('bash', ['-c', convertWhiteouts, 'whiteouts', target]);
  await run(program, args, { signal }).catch((error: unknown) => {
    throw error instanceof UserError && error.code === 'failed'
      ? new UserError('bad-input', `The whiteouts of layer ${name} cannot be used: ${error.message}`, { cause: error })
      : error;
  });
}

/**
 * image-spec, layer.md: ".wh.NAME" hides NAME of the layers below, ".wh..wh..opq" all that they have in its directory.
 * overlayfs has a device 0:0 and an attribute for that. Only the directories of this layer are walked, never a link.
 */
const convertWhiteouts = `
set -e -o pipefail
cd "$1"
mapfile -d '' -t found < <(find . -name '.wh.*' -prune -print0)
for path in "\${found[@]}"; do
  folder=\${path%/*} name=\${path##*/}
  hidden=\${name#.wh.}
  rm -rf -- "$path"
  case $name in
    .wh..wh..opq) setfattr -n trusted.overlay.opaque -v y "$folder" ;;
    .wh..wh.*) ;;
    .wh. | .wh.. | .wh...) echo "the whiteout $path names no file" >&2; exit 3 ;;
    *)
      if [ -d "$folder/$hidden" ] && [ ! -L "$folder/$hidden" ]; then
        setfattr -n trusted.overlay.opaque -v y "$folder/$hidden"
      elif [ ! -e "$folder/$hidden" ] && [ ! -L "$folder/$hidden" ]; then
        mknod "$folder/$hidden" c 0 0
      fi ;;
  esac
done`;

function blobPath(digest: string): string {
  return `blobs/sha256/${digest.slice('sha256:'.length)}`;
}

async function readBlob(directory: string, digest: string, signal: AbortSignal): Promise<unknown> {
  await requireDigest(await plainFile(directory, blobPath(digest)), digest, digest, signal);
  return await readJson(directory, blobPath(digest));
}

async function requireDigest(file: string, digest: string, name: string, signal: AbortSignal): Promise<void> {
  const found = `sha256:${await sha256Of(file, signal)}`;
  if (found !== digest) {
    throw new UserError('bad-input', `${name} has another checksum: ${found} and not ${digest}`, {
      hint: 'The image is damaged; save or fetch it again',
    });
  }
}

/**
 * A name that the image gives must be a file in it. For a layer that an image has twice, `docker save` writes a link to the
 * first one (moby, image/tarexport/save.go); no link leads out of the image.
 */
async function plainFile(directory: string, path: string): Promise<string> {
  const isPlain = path.split('/').every((part) => !['', '.', '..'].includes(part));
  const file = isPlain
    ? await openTree(directory)
        .resolve(path)
        .catch(() => undefined)
    : undefined;
  if (file === undefined || !(await lstat(file)).isFile()) {
    throw new UserError('bad-input', `The image names ${path}, and has no such file`, { hint: 'It is damaged; save or fetch it again' });
  }
  return file;
}

/** Undefined when there is no such file. */
async function readJson(directory: string, path: string): Promise<unknown> {
  try {
    const file = await plainFile(directory, path);
    if ((await lstat(file)).size > maxJsonBytes) {
      throw new UserError('bad-input', `${path} of the image is too long`);
    }
    return JSON.parse(await readFile(file, 'utf8'));
  } catch (error) {
    if (error instanceof UserError || systemCode(error) === 'ENOENT') {
      return undefined;
    }
    if (error instanceof SyntaxError) {
      throw new UserError('bad-input', `${path} of the image is no JSON: ${error.message}`, { cause: error });
    }
    throw error;
  }
}

function parse<T>(schema: z.ZodType<T>, value: unknown, what: string): T {
  const result = schema.safeParse(value);
  if (!result.success) {
    throw new UserError('bad-input', `${what} of the container image is not understood:\n${z.prettifyError(result.error)}`);
  }
  return result.data;
}
