/** Bytes to our own stdout and stderr, no faster than they are read there. */
export async function writeOutput(stream: 'stdout' | 'stderr', bytes: Buffer): Promise<void> {
  if (bytes.length > 0) {
    // That nobody reads any more comes as an event, which ends us in order.
    await new Promise<void>((resolve) => process[stream].write(bytes, () => resolve()));
  }
}
