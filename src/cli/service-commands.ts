import type { Command } from 'commander';
import { z } from 'zod';
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
  const rows = services.flatMap(({ service, interface: name, since, changes }) =>
    changes.map((change, index) => (index === 0 ? [service, name, ago(since, now), change] : ['', '', '', change])),
  );
  return table(['SERVICE', 'INTERFACE', 'SINCE', 'WHAT IT DID'], rows);
}
