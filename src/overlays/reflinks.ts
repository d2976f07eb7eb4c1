import { canReflink } from './disk-file.ts';

/** Asked of the file system once; a question that failed is asked again. */
export class Reflinks {
  readonly #directory: string;
  #answer: Promise<boolean> | undefined;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** Does a copy of a file here take no space until one of them is written to? */
  async here(): Promise<boolean> {
    this.#answer ??= canReflink(this.#directory);
    try {
      return await this.#answer;
    } catch (error) {
      this.#answer = undefined;
      throw error;
    }
  }
}
