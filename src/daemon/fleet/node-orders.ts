/** Orders of the operator for nodes that run. */
import type { Logger } from '../../log/logger.ts';
import type { OrderAdmin } from '../../servers/http/admin/order-routes.ts';
import type { NodeStore } from '../../store/nodes.ts';
import type { AgentOrders } from '../agent-orders.ts';
import { nodesOf } from './select-nodes.ts';

export interface NodeOrdersOptions {
  readonly nodes: NodeStore;
  readonly agents: Pick<AgentOrders, 'tell'>;
  readonly log: Logger;
}

export function createNodeOrders({ nodes, agents, log }: NodeOrdersOptions): OrderAdmin {
  return {
    give: (names, order) =>
      Promise.all(
        nodesOf(nodes, names).map(async ({ name }) => {
          const result = await agents.tell(name, order);
          if ('reason' in result) {
            log.warn({ node: name, order: order.verb, reason: result.reason }, 'order not taken');
            return { name, taken: false, reason: result.reason };
          }
          log.info({ node: name, order: order.verb }, 'order taken');
          return { name, taken: true };
        }),
      ),
  };
}
