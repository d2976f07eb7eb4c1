import { expect, test } from 'vitest';
import { wavesOf } from '#src/domain/waves.ts';

const nodes = [
  ['a', '10'],
  ['b', '2'],
  ['c', undefined],
  ['d', '2'],
  ['e', '2'],
].map(([name = '', rack]) => ({ name, labels: rack === undefined ? {} : { rack } }));

test.each([
  [{}, [['a', 'b', 'c', 'd', 'e']]],
  [{ size: 2 }, [['a', 'b'], ['c', 'd'], ['e']]],
  [{ by: 'rack' }, [['b', 'd', 'e'], ['a'], ['c']]],
  [{ by: 'rack', size: 2 }, [['b', 'd'], ['e'], ['a'], ['c']]],
])('%j', (rule, waves) => {
  expect(wavesOf(nodes, rule)).toEqual(waves);
});
