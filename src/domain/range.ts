import { UserError } from './errors.ts';

const maxNames = 4096;

/**
 * Expands `red[5-7]`, `red[001-100]`, `red[1-3,7]`, `rack[a-c]-[1-2]` and `192.168.1.[5-7]` into the names they stand
 * for, in order. A text without brackets is itself. Leading zeros are kept.
 * @throws UserError bad-input
 */
export function expandRange(text: string): string[] {
  const open = text.indexOf('[');
  if (open === -1) {
    if (text.includes(']')) {
      throw malformed(text, 'it closes a bracket that was never opened');
    }
    return [text];
  }
  const close = text.indexOf(']', open);
  if (close === -1) {
    throw malformed(text, 'a bracket is not closed');
  }
  const head = text.slice(0, open);
  if (head.includes(']')) {
    throw malformed(text, 'it closes a bracket that was never opened');
  }
  const items = text
    .slice(open + 1, close)
    .split(',')
    .flatMap((item) => expandItem(text, item));
  const tails = expandRange(text.slice(close + 1));
  if (items.length * tails.length > maxNames) {
    throw malformed(text, `it stands for more than ${maxNames} names`);
  }
  return items.flatMap((item) => tails.map((tail) => `${head}${item}${tail}`));
}

function expandItem(text: string, item: string): string[] {
  const numbers = /^(\d+)-(\d+)$/.exec(item);
  if (numbers) {
    const [, from = '', to = ''] = numbers;
    const width = from.length > 1 && from.startsWith('0') ? from.length : 0;
    if (width > 0 && to.length !== from.length) {
      throw malformed(text, `"${item}" mixes widths`);
    }
    return sequence(text, item, Number(from), Number(to)).map((value) => String(value).padStart(width, '0'));
  }
  const letters = /^([a-z])-([a-z])$/.exec(item);
  if (letters) {
    const [, from = '', to = ''] = letters;
    return sequence(text, item, from.charCodeAt(0), to.charCodeAt(0)).map((code) => String.fromCharCode(code));
  }
  if (!/^[a-z0-9]+$/.test(item)) {
    throw malformed(text, `"${item}" is neither a name nor a range`);
  }
  return [item];
}

function sequence(text: string, item: string, from: number, to: number): number[] {
  if (to < from) {
    throw malformed(text, `"${item}" ends before it begins`);
  }
  if (to - from >= maxNames) {
    throw malformed(text, `"${item}" stands for more than ${maxNames} names`);
  }
  return Array.from({ length: to - from + 1 }, (_, index) => from + index);
}

function malformed(text: string, why: string): UserError {
  return new UserError('bad-input', `The range "${text}" cannot be read: ${why}`, {
    hint: 'Examples: red[5-7], red[001-100], red[1-3,7], 192.168.1.[5-7]',
  });
}
