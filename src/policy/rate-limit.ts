/** How often something may be said of one key, such as a client's address. Pure: the time is an argument. */
export interface RateLimitOptions {
  readonly lines: number;
  readonly everyMs: number;
  /** What is known of the oldest key is forgotten when there are more. */
  readonly maxKeys: number;
}

export type Turn =
  /** @param leftOut how many were held back before this one */
  { readonly kind: 'pass'; readonly leftOut: number } | { readonly kind: 'hold' };

interface Window {
  since: number;
  count: number;
}

export class RateLimit {
  readonly #options: RateLimitOptions;
  // BOUNDED: maxKeys.
  readonly #windows = new Map<string, Window>();

  constructor(options: RateLimitOptions) {
    this.#options = options;
  }

  take(key: string, nowMs: number): Turn {
    const { lines, everyMs, maxKeys } = this.#options;
    const window = this.#windows.get(key);
    if (!window || nowMs - window.since >= everyMs) {
      this.#windows.delete(key);
      this.#windows.set(key, { since: nowMs, count: 1 });
      const [oldest] = this.#windows.keys();
      if (this.#windows.size > maxKeys && oldest !== undefined) {
        this.#windows.delete(oldest);
      }
      return { kind: 'pass', leftOut: Math.max(0, (window?.count ?? 0) - lines) };
    }
    window.count += 1;
    return window.count <= lines ? { kind: 'pass', leftOut: 0 } : { kind: 'hold' };
  }
}
