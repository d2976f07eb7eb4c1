import { execa } from 'execa';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import type { PowerDriver } from '#src/domain/node-settings.ts';
import { type PowerAction, type PowerPlan, planPower, readPowerState, snmpPowerState } from '#src/policy/power.ts';
import { exportRecord } from '../support/export-facts.ts';

const node = exportRecord('red5', { groups: ['workers'], labels: { outlet: '7', odd: 'a b&c' }, macs: ['b8:27:eb:00:00:05'] });
const plan = (driver: PowerDriver, action: PowerAction): PowerPlan => planPower(driver, action, { node, variables: { bmc: 'bmc5' } });

test('an agent can do all but switch on', () => {
  expect(plan({ driver: 'agent' }, 'off')).toEqual({ steps: [{ kind: 'order', verb: 'poweroff' }] });
  expect(plan({ driver: 'agent' }, 'cycle')).toEqual({ steps: [{ kind: 'order', verb: 'reboot' }] });
  expect(plan({ driver: 'agent' }, 'on')).toMatchObject({ reason: expect.stringContaining('cannot switch its node on') });
});

describe('a PoE switch', () => {
  const driver = { driver: 'snmp', host: '10.0.0.2', port: '1.7', community: 'secret' } as const;
  const step = { kind: 'snmp', host: '10.0.0.2', port: 161, community: 'secret', oid: '1.3.6.1.2.1.105.1.1.1.3.1.7' };

  test('is told 1 and 2, the TruthValues of pethPsePortAdminEnable, and asked for them', () => {
    expect(plan(driver, 'on')).toEqual({ steps: [{ ...step, set: 1 }] });
    expect(plan(driver, 'cycle')).toEqual({ steps: [{ ...step, set: 2 }, { kind: 'wait' }, { ...step, set: 1 }] });
    expect(plan(driver, 'status')).toEqual({ steps: [step] });
    expect([1, 2, 3].map(snmpPowerState)).toEqual(['on', 'off', 'unknown']);
  });

  test('the port of each node of a group comes from its label', () => {
    const group = { driver: 'snmp', host: 'switch', port: '1.{{ node.labels.outlet }}' } as const;
    expect(plan(group, 'on')).toMatchObject({ steps: [{ oid: '1.3.6.1.2.1.105.1.1.1.3.1.7' }] });
    expect(plan({ ...group, port: '{{ node.name }}' }, 'on')).toMatchObject({
      reason: expect.stringContaining('"switch" with "red5" is not'),
    });
  });

  test('a port alone is of group 1; the switch may listen elsewhere', () => {
    expect(plan({ driver: 'snmp', host: 'switch:1161', port: '24' }, 'off')).toMatchObject({
      steps: [{ host: 'switch', port: 1161, community: 'private', oid: '1.3.6.1.2.1.105.1.1.1.3.1.24', set: 2 }],
    });
  });
});

describe('a webhook', () => {
  const on = 'http://plug/relay/{{ node.labels.outlet }}?name={{ node.labels.odd }}&turn={{ action }}';

  test('is called with the record of the node, which stays one part of its URL', () => {
    expect(plan({ driver: 'webhook', on, headers: { Authorization: 'Bearer {{ variables.bmc }}' } }, 'on')).toEqual({
      steps: [
        { kind: 'http', method: 'GET', url: 'http://plug/relay/7?name=a%20b%26c&turn=on', headers: { Authorization: 'Bearer bmc5' } },
      ],
    });
    const body = '{"node": {{ node.name | json }}, "state": "{{ action }}"}';
    expect(plan({ driver: 'webhook', on: 'https://x/y', body }, 'on')).toMatchObject({
      steps: [{ method: 'POST', body: '{"node": "red5", "state": "on"}' }],
    });
  });

  test('without a way to cycle it is off and on; without one of these it says so', () => {
    const both = { driver: 'webhook', on: 'http://x/on', off: 'http://x/off' } as const;
    expect(plan(both, 'cycle')).toMatchObject({ steps: [{ url: 'http://x/off' }, { kind: 'wait' }, { url: 'http://x/on' }] });
    expect(plan({ ...both, cycle: 'http://x/cycle' }, 'cycle')).toMatchObject({ steps: [{ url: 'http://x/cycle' }] });
    expect(plan({ driver: 'webhook', off: 'http://x/off' }, 'cycle')).toMatchObject({ reason: expect.stringContaining('"on"') });
    expect(plan(both, 'status')).toMatchObject({ reason: expect.stringContaining('"status"') });
  });

  test.each([
    ['{{ node.labels.nothing }}', 'undefined variable'],
    ['http://{{ node.name | nothing }}', 'undefined filter'],
    ['http://{% include "/etc/passwd" %}', 'wrong'],
    ['file:///etc/passwd', 'not a URL with http:// or https://'],
  ])('%s is refused', (text, reason) => {
    expect(plan({ driver: 'webhook', on: text }, 'on')).toMatchObject({ reason: expect.stringContaining(reason) });
  });
});

test('what comes out of the record is one word of the shell, whatever it is', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.string({ unit: 'binary', maxLength: 20 }).filter((text) => !text.includes('\0')),
      async (label) => {
        const facts = { node: exportRecord('red5', { labels: { label } }), variables: {} };
        const made = planPower({ driver: 'command', on: 'printf %s {{ node.labels.label }}' }, 'on', facts);
        const [step] = 'steps' in made ? made.steps : [];
        const { stdout } = await execa('sh', ['-c', step?.kind === 'command' ? step.line : ''], { stripFinalNewline: false });
        expect(stdout).toBe(label);
      },
    ),
    { numRuns: 20 },
  );
});

test.each([
  ['{"POWER":"ON"}', 'on'],
  ['{"POWER2":"OFF"}', 'off'],
  ['{"ison":true,"has_timer":false,"overpower":false}', 'on'],
  ['{"id":0, "source":"init", "output":false, "apower":0.0, "temperature":{"tC":1}}', 'off'],
  ['Chassis Power is on\n', 'on'],
  ['0\n', 'off'],
  ['on and off', 'unknown'],
  ['', 'unknown'],
  ['{"error":"no such device"}', 'unknown'],
])('%s is %s', (answer, state) => {
  expect(readPowerState(answer)).toBe(state);
});
