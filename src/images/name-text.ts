import { isUtf8 } from 'node:buffer';

/** A name as people read it. Systems from before UTF-8 have others, for Linux takes any bytes: those are shown as \xe9. */
export function nameText(bytes: Buffer): string {
  return isUtf8(bytes)
    ? bytes.toString()
    : bytes.toString('latin1').replaceAll(/[^ -~]/g, (byte) => `\\x${byte.charCodeAt(0).toString(16).padStart(2, '0')}`);
}
