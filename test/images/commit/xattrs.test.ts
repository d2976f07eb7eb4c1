import { expect, test } from 'vitest';
import { parseGetfattr } from '#src/images/commit/xattrs.ts';

test('names with line ends, backslashes and equals signs; values of any length', () => {
  const text = '# file: /a\\012b\\134c\nuser.a\\075b=0x\nuser.k=0x7631\n\n# file: /ü\ntrusted.overlay.opaque=0x79\n\n';
  const all = parseGetfattr(text);
  expect([...all.keys()]).toEqual(['/a\nb\\c', '/ü']);
  expect([...(all.get('/a\nb\\c') ?? [])]).toEqual([
    ['user.a=b', '0x'],
    ['user.k', '0x7631'],
  ]);
  expect(all.get('/ü')?.get('trusted.overlay.opaque')).toBe('0x79');
  expect(parseGetfattr('').size).toBe(0);
});
