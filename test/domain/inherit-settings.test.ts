import { expect, test } from 'vitest';
import { parseImageRef } from '#src/domain/image-ref.ts';
import { inheritSettings } from '#src/domain/inherit-settings.ts';

const image = parseImageRef;

test('the narrower wins; nothing said leaves what was said before', () => {
  expect(inheritSettings([{ image: image('a'), overlay: 'ephemeral' }, {}, { image: image('b') }])).toEqual({
    image: 'b',
    overlay: 'ephemeral',
  });
});

test('lines are joined once each, the wider first; things with a name by their name', () => {
  const wide = { kernelArguments: ['a', 'b'], users: [{ name: 'ann' }, { name: 'bob', sudo: true }], labels: { rack: 'a', row: '1' } };
  const narrow = { kernelArguments: ['b', 'c'], users: [{ name: 'bob' }, { name: 'cid' }], labels: { rack: 'b' } };
  expect(inheritSettings([wide, narrow])).toEqual({
    kernelArguments: ['a', 'b', 'c'],
    users: [{ name: 'ann' }, { name: 'bob' }, { name: 'cid' }],
    labels: { rack: 'b', row: '1' },
  });
});

test("cloud-init's data as cloud-init merges it: objects into one another, lists behind one another", () => {
  const wide = { cloudInit: { userData: { packages: ['a'], write: { x: 1, y: 1 }, hostname: 'h' } } };
  const narrow = { cloudInit: { userData: { packages: ['b'], write: { y: 2 } }, metaData: { z: 1 } } };
  expect(inheritSettings([wide, narrow]).cloudInit).toEqual({
    userData: { packages: ['a', 'b'], write: { x: 1, y: 2 }, hostname: 'h' },
    metaData: { z: 1 },
  });
});

test('a key that is called __proto__ is a key', () => {
  const evil = JSON.parse('{"__proto__": {"x": 1}}') as object;
  const joined = inheritSettings([{ variables: { a: 1 } }, { variables: evil as never }]).variables;
  expect(Object.keys(joined ?? {})).toEqual(['a', '__proto__']);
  expect(({} as { x?: number }).x).toBeUndefined();
});
