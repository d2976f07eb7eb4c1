import { pino } from 'pino';
import { expect, test } from 'vitest';
import { InterfaceWatch } from '#src/daemon/interface-watch.ts';
import { parseIpv4, parseSubnet } from '#src/domain/ipv4.ts';
import type { InterfaceFacts } from '#src/net/interfaces.ts';
import { FakeClock } from '../support/fake-clock.ts';

const at = (address: string): InterfaceFacts => ({
  name: 'eth0',
  index: 2,
  address: parseIpv4(address),
  subnet: parseSubnet('10.0.0.0/24'),
});

function start() {
  const clock = new FakeClock();
  const events: string[] = [];
  const state: { now: readonly InterfaceFacts[]; failing: boolean } = { now: [at('10.0.0.1')], failing: false };
  const watch = new InterfaceWatch({
    interfaces: [{ facts: at('10.0.0.1') }],
    list: () => Promise.resolve(state.now),
    serve: ({ facts }) => {
      if (state.failing) {
        return Promise.reject(new Error('port taken'));
      }
      events.push(`open ${facts.address}`);
      return Promise.resolve({ [Symbol.asyncDispose]: () => Promise.resolve(void events.push(`close ${facts.address}`)) });
    },
    clock,
    log: pino({ level: 'silent' }),
  });
  return { clock, events, state, watch, later: () => clock.run(() => false, 3500) };
}

test('nothing happens while nothing changes', async () => {
  const { events, watch, later } = start();
  await watch.start();
  await later();
  expect(events).toEqual(['open 10.0.0.1']);
  await watch[Symbol.asyncDispose]();
  expect(events).toEqual(['open 10.0.0.1', 'close 10.0.0.1']);
});

test('a new address: first closed, then opened', async () => {
  const { events, state, watch, later } = start();
  await watch.start();
  state.now = [at('10.0.0.2')];
  await later();
  expect(events).toEqual(['open 10.0.0.1', 'close 10.0.0.1', 'open 10.0.0.2']);
  await watch[Symbol.asyncDispose]();
});

test('no address for a while, and the same one again', async () => {
  const { events, state, watch, later } = start();
  await watch.start();
  state.now = [];
  await later();
  await later();
  state.now = [at('10.0.0.1')];
  await later();
  expect(events).toEqual(['open 10.0.0.1', 'close 10.0.0.1', 'open 10.0.0.1']);
  await watch[Symbol.asyncDispose]();
});

test('what cannot be opened is tried again', async () => {
  const { events, state, watch, later } = start();
  await watch.start();
  state.now = [at('10.0.0.2')];
  state.failing = true;
  await later();
  state.failing = false;
  await later();
  expect(events).toEqual(['open 10.0.0.1', 'close 10.0.0.1', 'open 10.0.0.2']);
  await watch[Symbol.asyncDispose]();
});

test("at the start a failure is the operator's to read", async () => {
  const { state, watch } = start();
  state.failing = true;
  await expect(watch.start()).rejects.toThrow('port taken');
});
