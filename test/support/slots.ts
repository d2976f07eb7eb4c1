/** At most so many at once; the others wait in the order in which they came. */
export function slots(count: number): () => Promise<AsyncDisposable> {
  let free = count;
  const waiting: (() => void)[] = [];
  return async () => {
    if (free > 0) {
      free -= 1;
    } else {
      await new Promise<void>((resolve) => waiting.push(resolve));
    }
    return {
      [Symbol.asyncDispose]: () => {
        const next = waiting.shift();
        if (next) {
          next();
        } else {
          free += 1;
        }
        return Promise.resolve();
      },
    };
  };
}
