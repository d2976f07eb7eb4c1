/** What of a node's power driver would fail whenever it is used. */
import type { Architecture } from '../domain/image.ts';
import { anyAddress, type Ipv4 } from '../domain/ipv4.ts';
import type { Node } from '../domain/node.ts';
import { type PowerFacts, planPower, powerActions } from './power.ts';
import type { SettingsProblem } from './render-files.ts';

export function powerProblems(node: Node, address: Ipv4 | undefined, arch: Architecture): SettingsProblem[] {
  const { power, labels = {}, variables = {} } = node.settings;
  if (power === undefined) {
    return [];
  }
  // What is not known before a board has come stands for whatever it will be.
  const { name, serial = 'serial', model = 'model', macs, groups, image } = node;
  const facts: PowerFacts = { node: { name, address: address ?? anyAddress, serial, model, arch, macs, groups, labels, image }, variables };
  const said = powerActions.filter((action) => power.driver === 'snmp' || (power.driver !== 'agent' && power[action] !== undefined));
  const reasons = said.flatMap((action) => {
    const plan = planPower(power, action, facts);
    return 'reason' in plan ? [plan.reason] : [];
  });
  return [...new Set(reasons)].map((message) => ({ list: 'power', key: power.driver, message }));
}
