import type { Command } from 'commander';
import { z } from 'zod';
import type { PlannedService } from '../daemon/services/plan-services.ts';
import { adminClient } from './admin-client.ts';
import type { Context } from './context.ts';
import { ago, table } from './format.ts';

const ServiceViews = z.array(
  z.looseObject({ service: z.string(), interface: z.string(), since: z.number(), changes: z.array(z.string()), status: z.looseObject({}) }),
);

export function addServiceCommands(program: Command, contextOf: () => Context): void {
  program
    .command('service')
    .description('what the server does for its subnets besides booting them')
    .command('list')
    .description('which services are on, where, since when, and what they changed')
    .action(async () => {
      const context = contextOf();
      const services = ServiceViews.parse(await adminClient(context.places.adminSocket).call('GET', '/services'));
      context.print(context.json ? JSON.stringify(services) : servicesText(services, Date.now()));
    });
}

export function servicesText(services: z.infer<typeof ServiceViews>, now: number): string {
  if (services.length === 0) {
    return 'No service is on. cardless up --help shows their switches: --name-server, for example';
  }
  const rows = services.flatMap((view) => rowsOf([view.service, view.interface, ago(view.since, now)], view.changes));
  return table(['SERVICE', 'INTERFACE', 'SINCE', 'WHAT IT DID'], rows);
}

/** For `up --dry-run`. */
export function printPlan(planned: readonly PlannedService[], context: Context): void {
  const rows = planned.flatMap((view) => rowsOf([view.service, view.interface], view.changes));
  const text = rows.length === 0 ? 'No service would be on.' : table(['SERVICE', 'INTERFACE', 'WHAT IT WOULD DO'], rows);
  context.print(context.json ? JSON.stringify(planned) : text);
}

function rowsOf(head: readonly string[], changes: readonly string[]): string[][] {
  return changes.map((change, index) => [...(index === 0 ? head : head.map(() => '')), change]);
}
