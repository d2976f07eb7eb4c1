/**
 * What switching a node takes, step by step. PoE: RFC 3621 section 3, pethPsePortAdminEnable in pethPsePortTable, indexed by
 * group and port, TruthValue: 1 delivers power, 2 does not.
 */
import { Liquid } from 'liquidjs';
import { messageOf } from '../domain/errors.ts';
import type { JsonObject, PowerDriver, PowerTemplates } from '../domain/node-settings.ts';
import type { ExportRecord } from './exports/record.ts';

export const powerActions = ['on', 'off', 'cycle', 'status'] as const;
export type PowerAction = (typeof powerActions)[number];
export type PowerState = 'on' | 'off' | 'unknown';

export type PowerStep =
  | { readonly kind: 'order'; readonly verb: 'reboot' | 'poweroff' }
  /** Whether the agent is there. */
  | { readonly kind: 'listen' }
  | {
      readonly kind: 'http';
      readonly url: string;
      readonly method: string;
      readonly headers: Readonly<Record<string, string>>;
      readonly body?: string;
    }
  | {
      readonly kind: 'snmp';
      readonly host: string;
      readonly port: number;
      readonly community: string;
      readonly oid: string;
      readonly set?: 1 | 2;
    }
  | { readonly kind: 'command'; readonly line: string }
  | { readonly kind: 'wait' };

export type PowerPlan = { readonly steps: readonly PowerStep[] } | { readonly reason: string };

const adminEnable = '1.3.6.1.2.1.105.1.1.1.3';
const enabled = { on: 1, off: 2 } as const;
const snmpPort = 161;
/** What switches have for writing when nobody changed it. */
const usualCommunity = 'private';

export interface PowerFacts {
  readonly node: Pick<ExportRecord, 'name' | 'address' | 'serial' | 'model' | 'arch' | 'macs' | 'groups' | 'labels' | 'image'>;
  readonly variables: JsonObject;
}

export function planPower(driver: PowerDriver, action: PowerAction, facts: PowerFacts): PowerPlan {
  switch (driver.driver) {
    case 'agent':
      return agentPlan(action);
    case 'snmp':
      return planned(() => snmpSteps(driver, action, facts));
    case 'webhook':
      return templated(driver, action, (text, now) => webhookStep(driver, text, now, facts));
    case 'command':
      return templated(driver, action, (text, now) => ({ kind: 'command', line: render(text, now, facts, shellWord) }));
  }
}

function agentPlan(action: PowerAction): PowerPlan {
  switch (action) {
    case 'on':
      return { reason: 'an agent cannot switch its node on: choose another power driver, or use the button' };
    case 'off':
      return { steps: [{ kind: 'order', verb: 'poweroff' }] };
    case 'cycle':
      return { steps: [{ kind: 'order', verb: 'reboot' }] };
    case 'status':
      return { steps: [{ kind: 'listen' }] };
  }
}

type Snmp = Extract<PowerDriver, { driver: 'snmp' }>;

function snmpSteps({ community = usualCommunity, ...driver }: Snmp, action: PowerAction, facts: PowerFacts): PowerStep[] {
  const host = render(driver.host, action, facts, String);
  const port = render(driver.port, action, facts, String);
  if (!/^[A-Za-z0-9.:-]+$/.test(host) || !/^\d+(\.\d+)*$/.test(port)) {
    throw new Error(`"${host}" with "${port}" is not a switch with the index of a port`);
  }
  const [, name = host, number] = /^([^:]+):(\d+)$/.exec(host) ?? [];
  const step = {
    kind: 'snmp',
    host: name,
    port: number === undefined ? snmpPort : Number(number),
    community,
    oid: `${adminEnable}.${port.includes('.') ? port : `1.${port}`}`,
  } as const;
  const set = (state: 'on' | 'off'): PowerStep => ({ ...step, set: enabled[state] });
  switch (action) {
    case 'status':
      return [step];
    case 'cycle':
      return [set('off'), { kind: 'wait' }, set('on')];
    default:
      return [set(action)];
  }
}

function templated(templates: PowerTemplates, action: PowerAction, stepOf: (text: string, now: PowerAction) => PowerStep): PowerPlan {
  const actions = action === 'cycle' && templates.cycle === undefined ? (['off', 'on'] as const) : [action];
  const missing = actions.find((one) => templates[one] === undefined);
  if (missing !== undefined) {
    return { reason: `its power driver does not say how to do "${missing}"` };
  }
  return planned(() => {
    const steps = actions.map((one) => stepOf(templates[one] ?? '', one));
    return steps.flatMap((step, index) => (index === 0 ? [step] : [{ kind: 'wait' } as const, step]));
  });
}

function planned(steps: () => PowerStep[]): PowerPlan {
  try {
    return { steps: steps() };
  } catch (error) {
    return { reason: `a template of its power driver is wrong: ${messageOf(error)}` };
  }
}

function webhookStep(driver: Extract<PowerDriver, { driver: 'webhook' }>, text: string, action: PowerAction, facts: PowerFacts): PowerStep {
  const { headers = {}, body, method = body === undefined || action === 'status' ? 'GET' : 'POST' } = driver;
  const url = render(text, action, facts, encodeURIComponent);
  if (!/^https?:\/\/[^/]/.test(url)) {
    throw new Error(`what is to switch it "${action}" is not a URL with http:// or https://`);
  }
  return {
    kind: 'http',
    url,
    method,
    headers: Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, render(value, action, facts, String)])),
    ...(body === undefined || method === 'GET' ? {} : { body: render(body, action, facts, String) }),
  };
}

const engines = new Map<(value: string) => string, Liquid>();

/** @param quote for what comes out of the record: it must stay one part of a URL, or one word of a shell */
function render(text: string, action: PowerAction, { node, variables }: PowerFacts, quote: (value: string) => string): string {
  const engine =
    engines.get(quote) ??
    new Liquid({
      strictVariables: true,
      strictFilters: true,
      ownPropertyOnly: true,
      outputEscape: (value: unknown) => quote(String(value)),
      // The file system is out of reach.
      templates: {},
      parseLimit: 100_000,
      renderLimit: 1000,
      memoryLimit: 1_000_000,
    });
  // BOUNDED: one for each way to escape.
  engines.set(quote, engine);
  const { name, address = '', serial = '', model = '', arch = '', macs, groups, labels, image } = node;
  const view = { name, address, serial, model, arch, macs, group: groups[0] ?? '', groups, labels, image };
  return String(engine.parseAndRenderSync(text, { node: view, variables, action }));
}

function shellWord(value: string): string {
  return `'${value.replaceAll("'", `'\\''`)}'`;
}

/** Of a plug or of a program, whatever it is: `{"POWER":"ON"}`, `{"ison":true,"has_timer":false}`, `Chassis Power is off`. */
export function readPowerState(text: string): PowerState {
  const answer = text.toLowerCase();
  const [, said] = /\b(?:ison|output|power\d*|relay\d*|state)"?\s*[:=]\s*"?(on|off|true|false|1|0)\b/.exec(answer) ?? [];
  const words = said === undefined ? (answer.match(/[a-z0-9]+/g) ?? []) : [said];
  for (const [on, off] of [
    [['on'], ['off']],
    [
      ['true', '1'],
      ['false', '0'],
    ],
  ] as const) {
    const [isOn, isOff] = [on, off].map((wanted) => words.some((word) => (wanted as readonly string[]).includes(word)));
    if (isOn !== isOff) {
      return isOn ? 'on' : 'off';
    }
  }
  return 'unknown';
}

export function snmpPowerState(value: number): PowerState {
  return value === enabled.on ? 'on' : value === enabled.off ? 'off' : 'unknown';
}
