/** Jobs that look into images and change nothing. */
import type { Places } from '../config/places.ts';
import type { Settings } from '../config/schema.ts';
import { UserError } from '../domain/errors.ts';
import { type Architecture, architectures, type Image, type ImageDigest, shortDigest } from '../domain/image.ts';
import { parseIpv4 } from '../domain/ipv4.ts';
import { parseMac } from '../domain/mac.ts';
import { parseNodeName } from '../domain/node.ts';
import type { ImageCatalog } from '../images/catalog.ts';
import { diffImages, ensureContents, summarize } from '../images/contents.ts';
import { inThread } from '../images/image-tasks.ts';
import { type OnProgress, section } from '../images/progress.ts';
import { verifyImage } from '../images/verify.ts';
import { type BoardModel, boardModels, findBoardModel } from '../policy/board-models.ts';
import { type CheckFacts, checkImage } from '../policy/image-check.ts';
import { imageText } from '../policy/image-needs.ts';
import { type BootFacts, renderCmdlineTxt, renderConfigTxt } from '../policy/render-config.ts';
import type { ImageCheck, ImageComparison, ImageSelection, ImageVerification, VersionAdmin } from '../servers/http/admin/version-routes.ts';
import { type ImageVersions, imageView } from './image-versions.ts';
import type { JobSpace } from './job-space.ts';
import type { Job, Jobs } from './jobs.ts';

export interface ImageInspectionOptions {
  readonly places: Places;
  readonly settings: Pick<Settings, 'bootRamdisk' | 'httpPort'>;
  readonly images: ImageCatalog;
  readonly versions: ImageVersions;
  readonly jobs: Jobs;
  readonly room: JobSpace;
}

/** The texts that boards get are as long as these, give or take a few letters. */
const sample = {
  node: parseNodeName('sample'),
  server: parseIpv4('192.168.100.200'),
  mac: parseMac('b8:27:eb:00:00:01'),
  token: 'x'.repeat(32),
} as const;

export class ImageInspection {
  readonly #options: ImageInspectionOptions;

  constructor(options: ImageInspectionOptions) {
    this.#options = options;
  }

  async verify({ refs }: ImageVerification): Promise<Job> {
    const { images, versions, jobs } = this.#options;
    const chosen = refs.length === 0 ? await images.list() : (await Promise.all(refs.map((ref) => versions.select({ ref })))).flat();
    const broken = refs.length === 0 ? await images.listBroken() : [];
    const all: readonly Pick<Image, 'digest'>[] = [...new Map([...chosen, ...broken].map((image) => [image.digest, image])).values()];
    const title = refs.length === 0 ? 'verify all images' : `verify ${refs.join(', ')}`;
    const total = chosen.flatMap(({ files }) => files).reduce((sum, { bytes }) => sum + bytes, 0);
    return jobs.start(title, async (signal, onProgress) => {
      let done = 0;
      const problems: object[] = [];
      for (const [index, { digest }] of all.entries()) {
        const phase = `reading image ${index + 1} of ${all.length}`;
        const onBytes = (count: number): void => {
          done += count;
          onProgress({ phase, fraction: Math.min(0.99, done / Math.max(1, total)) });
        };
        problems.push(...(await verifyImage(images.pathOf(digest, ''), digest, { signal, onBytes })));
      }
      return { images: all.length, bytes: total, problems };
    });
  }

  /** So that `show` knows the packages of an image. */
  async list(selection: ImageSelection): Promise<Job> {
    const { versions, jobs } = this.#options;
    const chosen = await versions.select(selection);
    return jobs.start(`list what is in ${selection.ref}`, async (signal, onProgress) => {
      for (const [index, image] of chosen.entries()) {
        await this.#contents(image, signal, section(onProgress, index / chosen.length, (index + 1) / chosen.length));
      }
      return { images: chosen.map(({ digest }) => digest) };
    });
  }

  async diff(request: ImageComparison): Promise<Job> {
    const [from, to] = await this.#pair(request);
    return this.#options.jobs.start(`compare ${imageText(from)} with ${imageText(to)}`, async (signal, onProgress) => {
      const before = await this.#contents(from, signal, section(onProgress, 0, 0.45));
      const after = await this.#contents(to, signal, section(onProgress, 0.45, 0.9));
      onProgress({ phase: 'comparing', fraction: 0.9 });
      const difference = await diffImages({ image: from, list: before }, { image: to, list: after }, signal);
      return { from: imageView(from), to: imageView(to), ...difference };
    });
  }

  /** Both of one architecture, where that is clear. */
  async #pair({ from, to, arch }: ImageComparison): Promise<readonly [Image, Image]> {
    const { versions } = this.#options;
    const [before, after] = await Promise.all([from, to].map((ref) => versions.select({ ref, ...(arch ? { arch } : {}) })));
    const common = architectures.filter((one) => [before, after].every((images) => images?.some((image) => image.arch === one)));
    const only: Architecture | undefined = common.length === 1 ? common[0] : arch;
    const selection = only === undefined ? {} : { arch: only };
    return [await versions.selectOne({ ref: from, ...selection }), await versions.selectOne({ ref: to, ...selection })];
  }

  async check({ models, ...selection }: ImageCheck): Promise<Job> {
    const { versions, jobs } = this.#options;
    const chosen = await versions.select(selection);
    const named = models?.map(findBoardModel);
    return jobs.start(`check ${selection.ref}`, async (signal, onProgress) => {
      const checks: object[] = [];
      for (const [index, image] of chosen.entries()) {
        const part = section(onProgress, index / chosen.length, (index + 1) / chosen.length);
        const facts = await this.#checkFacts(image, signal, part);
        const boards = modelsFor(image, chosen, named);
        checks.push({ ...imageView(image), models: boards.map((model) => checkImage(facts, model)) });
      }
      return { checks };
    });
  }

  async #checkFacts(image: Image, signal: AbortSignal, onProgress: OnProgress): Promise<CheckFacts> {
    const { images, settings } = this.#options;
    const { kernels } = await summarize(await this.#contents(image, signal, section(onProgress, 0, 0.9)));
    onProgress({ phase: `looking at the boot files of ${shortDigest(image.digest)}`, fraction: 0.9 });
    const names = image.files.filter(({ path }) => path.startsWith('boot/')).map(({ path }) => path.slice('boot/'.length));
    const pathOf = (name: string): string => images.pathOf(image.digest, `boot/${name}`);
    const inFile = async <T>(pattern: RegExp, read: (file: string) => Promise<T>): Promise<Record<string, T>> =>
      Object.fromEntries(
        await Promise.all(names.filter((name) => pattern.test(name)).map(async (name) => [name, await read(pathOf(name))])),
      );
    const facts: BootFacts = { ...sample, image, httpPort: settings.httpPort, bootRamdisk: settings.bootRamdisk };
    return {
      arch: image.arch,
      rootFormat: image.rootFormat,
      files: image.files,
      kernels: await inFile(/^(kernel.*\.img|vmlinuz.*)$/, (file) => inThread('kernelFormat', { file }, { signal })),
      initramfs: await inFile(/^initramfs/, (file) => inThread('initramfs', { file }, { signal })),
      builtin: Object.fromEntries(kernels.map(({ version, builtin }) => [version, builtin])),
      configTxt: renderConfigTxt(facts),
      cmdlineTxt: renderCmdlineTxt(facts),
      bootRamdisk: settings.bootRamdisk,
    };
  }

  async #contents(image: Image, signal: AbortSignal, onProgress: OnProgress): Promise<string> {
    const { images, places, room } = this.#options;
    try {
      return await room.whileRoom(signal, (ended) =>
        ensureContents(image, { images, cache: places.cache, work: places.work, signal: ended, onProgress }),
      );
    } catch (error) {
      throw signal.aborted || (error instanceof UserError && error.code !== 'failed') ? error : unreadable(image.digest, error);
    }
  }
}

function unreadable(digest: ImageDigest, cause: unknown): UserError {
  const said = cause instanceof Error ? cause.message : String(cause);
  return new UserError('failed', `The root of ${shortDigest(digest)} cannot be unpacked: ${said}`, {
    cause,
    hint: 'cardless image verify tells whether it was damaged on the disk',
  });
}

/** A board that was named is looked at in the image of its architecture, or is told that there is none. */
function modelsFor(image: Image, chosen: readonly Image[], named: readonly BoardModel[] | undefined): readonly BoardModel[] {
  if (!named) {
    return boardModels.filter(({ archs }) => archs.includes(image.arch));
  }
  return named.filter(({ archs }) => archs.includes(image.arch) || !chosen.some((other) => archs.includes(other.arch)));
}

/** What the operator's API does with versions of images. */
export function createVersionService(versions: ImageVersions, inspection: ImageInspection): VersionAdmin {
  return {
    show: (selection) => versions.show(selection),
    tag: (tagging) => versions.tag(tagging),
    untag: (selection) => versions.untag(selection),
    remove: (selection) => versions.remove(selection),
    collect: (request) => versions.collect(request),
    verify: (request) => inspection.verify(request),
    list: (selection) => inspection.list(selection),
    diff: (request) => inspection.diff(request),
    check: (request) => inspection.check(request),
  };
}
