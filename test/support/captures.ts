import { globSync, readFileSync } from 'node:fs';
import { basename } from 'node:path';

/** A capture of test/captures: hex digits with white space; lines that begin with # tell where it is from. */
export function capture(name: string): Buffer {
  const text = readFileSync(new URL(`../captures/${name}.hex`, import.meta.url), 'utf8');
  return Buffer.from(text.replaceAll(/^#.*$/gm, '').replaceAll(/\s+/g, ''), 'hex');
}

export function rendering(name: string): string {
  return readFileSync(new URL(`../captures/${name}.txt`, import.meta.url), 'utf8');
}

/** All of them are DHCP messages. */
export function captureNames(): string[] {
  const files = globSync(new URL('../captures/*.hex', import.meta.url).pathname);
  return files.map((file) => basename(file, '.hex')).toSorted();
}

export function provenance(name: string): string {
  return readFileSync(new URL(`../captures/${name}.hex`, import.meta.url), 'utf8');
}
