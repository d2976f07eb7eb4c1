import { expect, test } from 'vitest';
import { parseNodeName } from '#src/domain/node.ts';
import { Turns } from '#src/overlays/turns.ts';

const [red5, red6] = ['red5', 'red6'].map(parseNodeName) as [ReturnType<typeof parseNodeName>, ReturnType<typeof parseNodeName>];

test('an operator is refused while something is under way, a boot waits, other nodes are free', async () => {
  const turns = new Turns();
  const order: string[] = [];
  const { promise, resolve } = Promise.withResolvers<void>();
  const first = turns.take([red5, red6], 'clone', async () => {
    await promise;
    order.push('clone');
  });
  const boot = turns.wait(red6, 'its boot', () => Promise.resolve(order.push('boot')));
  const later = turns.wait(red6, 'its boot', () => Promise.resolve(order.push('later')));
  await expect(turns.take([red6], 'reset', () => Promise.resolve())).rejects.toThrow('red6 is busy: clone is under way');
  await turns.take([parseNodeName('red7')], 'reset', () => Promise.resolve(order.push('red7')));
  resolve();
  await Promise.all([first, boot, later]);
  expect(order).toEqual(['red7', 'clone', 'boot', 'later']);
  await turns.take([red5, red6], 'reset', () => Promise.resolve());
});

test('what failed does not keep its place', async () => {
  const turns = new Turns();
  await expect(turns.take([red5], 'reset', () => Promise.reject(new Error('no')))).rejects.toThrow('no');
  expect(await turns.wait(red5, 'its boot', () => Promise.resolve('here'))).toBe('here');
});
