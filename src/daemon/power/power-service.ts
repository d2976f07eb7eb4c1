/** Switches nodes on and off by their power drivers. */
import type { Clock } from '../../domain/clock.ts';
import { UserError } from '../../domain/errors.ts';
import type { Node } from '../../domain/node.ts';
import type { Logger } from '../../log/logger.ts';
import { type PowerAction, type PowerState, planPower } from '../../policy/power.ts';
import type { PowerAdmin, PowerResult } from '../../servers/http/admin/power-routes.ts';
import type { NodeStore } from '../../store/nodes.ts';
import type { AgentOrders } from '../agent-orders.ts';
import { type ExportServiceOptions, recordOf } from '../fleet/export-service.ts';
import { nodesOf } from '../fleet/select-nodes.ts';
import { carryOut } from './carry-out.ts';

/** Between off and on: what a power supply needs to be empty. */
const offMs = 5000;

export interface PowerServiceOptions extends Pick<ExportServiceOptions, 'sessions' | 'hostKeys' | 'addressOf'> {
  readonly nodes: NodeStore;
  readonly agents: AgentOrders;
  readonly clock: Clock;
  readonly log: Logger;
}

export function createPowerService(options: PowerServiceOptions): PowerAdmin {
  return {
    act: (names, action) => Promise.all(nodesOf(options.nodes, names).map((node) => switchNode(node, action, options))),
  };
}

async function switchNode(node: Node, action: PowerAction, options: PowerServiceOptions): Promise<PowerResult> {
  const { agents, clock, log } = options;
  const { power = { driver: 'agent' }, variables = {} } = node.settings;
  const facts = { name: node.name, driver: power.driver };
  const plan = planPower(power, action, { node: await recordOf(node, options), variables });
  if ('reason' in plan) {
    return { ...facts, done: false, reason: plan.reason };
  }
  let state: PowerState = 'unknown';
  try {
    for (const step of plan.steps) {
      if (step.kind === 'wait') {
        await new Promise<void>((resolve) => clock.after(offMs, resolve));
      } else {
        state = await carryOut(step, node.name, agents);
      }
    }
  } catch (error) {
    if (!(error instanceof UserError)) {
      throw error;
    }
    log.warn({ node: node.name, driver: power.driver, action, reason: error.message }, 'power could not be switched');
    return { ...facts, done: false, reason: error.message, ...(error.hint === undefined ? {} : { hint: error.hint }) };
  }
  if (action === 'status') {
    return { ...facts, done: true, state };
  }
  log.info({ node: node.name, driver: power.driver, action }, 'power switched');
  return { ...facts, done: true };
}
