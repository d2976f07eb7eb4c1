/** Keeps the files of the setting `exports` what the fleet is. */
import type { ExportSettings } from '../../config/schema.ts';
import type { Clock } from '../../domain/clock.ts';
import { messageOf, UserError } from '../../domain/errors.ts';
import type { Logger } from '../../log/logger.ts';
import { replaceFile } from '../../process/replace-file.ts';
import type { ExportAdmin, Exported } from '../../servers/http/admin/export-routes.ts';

/** Changes that come together are written together. */
const afterChangeMs = 200;
/** Addresses, states and hardware come from nodes, and nobody tells of them. */
const lookMs = 10_000;

export interface ExportFilesOptions {
  readonly wanted: readonly ExportSettings[];
  readonly exports: ExportAdmin;
  readonly clock: Clock;
  readonly log: Logger;
}

export class ExportFiles implements AsyncDisposable {
  readonly #options: ExportFilesOptions;
  readonly #files: readonly (ExportSettings & { readonly file: string })[];
  // BOUNDED: one per file of the settings.
  readonly #failures = new Map<string, string>();
  #cancel = (): void => {};
  #writing: Promise<void> | undefined;
  #isStale = false;
  #isStopped = false;

  constructor(options: ExportFilesOptions) {
    this.#options = options;
    this.#files = options.wanted.flatMap((entry) => (entry.file === undefined ? [] : [{ ...entry, file: entry.file }]));
  }

  start(): void {
    this.#write();
  }

  readonly touch = (): void => {
    this.#isStale = true;
    this.#schedule(afterChangeMs);
  };

  /** For whoever asks by HTTP. @throws UserError not-found */
  readonly published = async (format: string): Promise<Exported> => {
    const entry = this.#options.wanted.find((one) => one.http && one.format === format);
    if (!entry) {
      throw new UserError('not-found', 'There is no such export here');
    }
    return await this.#render(entry);
  };

  async [Symbol.asyncDispose](): Promise<void> {
    this.#isStopped = true;
    this.#cancel();
    await this.#writing;
    if (this.#isStale) {
      await this.#writeAll();
    }
  }

  #schedule(ms: number): void {
    if (this.#files.length === 0 || this.#isStopped || this.#writing) {
      return;
    }
    this.#cancel();
    this.#cancel = this.#options.clock.after(ms, () => this.#write());
  }

  #write(): void {
    this.#isStale = false;
    this.#writing = this.#writeAll().finally(() => {
      this.#writing = undefined;
      this.#schedule(this.#isStale ? afterChangeMs : lookMs);
    });
  }

  async #writeAll(): Promise<void> {
    const { log } = this.#options;
    for (const entry of this.#files) {
      const { format, file } = entry;
      try {
        const { text } = await this.#render(entry);
        if (await replaceFile(file, text, 0o644)) {
          log.info({ format, file }, 'export written');
        }
        this.#failures.delete(file);
      } catch (error) {
        // Said once: the next look would say the same.
        const reason = messageOf(error);
        if (this.#failures.get(file) !== reason) {
          log.warn({ format, file, reason }, 'export could not be written');
        }
        this.#failures.set(file, reason);
      }
    }
  }

  async #render({ format, nodes, jump, user, port }: ExportSettings): Promise<Exported> {
    return await this.#options.exports.render(format, { nodes, jump, user, port });
  }
}
