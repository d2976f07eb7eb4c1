import type { Command } from 'commander';
import { z } from 'zod';
import { adminClient } from './admin-client.ts';
import type { Context } from './context.ts';
import { ago, table } from './format.ts';
import { spaceWarning } from './overlay/overlay-view.ts';

const Status = z.looseObject({
  pid: z.number(),
  state: z.string(),
  store: z.object({ freeBytes: z.number(), totalBytes: z.number(), level: z.string() }).optional(),
  interfaces: z.array(
    z.looseObject({
      name: z.string(),
      mode: z.string(),
      address: z.string(),
      setAside: z.array(z.object({ address: z.string(), why: z.string() })).default([]),
      otherDhcpServers: z.array(z.object({ address: z.string(), lastSeen: z.number(), isExpected: z.boolean() })).default([]),
    }),
  ),
});

export function addStatusCommand(program: Command, contextOf: () => Context): void {
  program
    .command('status')
    .description('what the server serves, and what it noticed on its links')
    .action(async () => {
      const context = contextOf();
      const status = Status.parse(await adminClient(context.places.adminSocket).call('GET', '/status'));
      context.print(context.json ? JSON.stringify(status) : statusText(status, Date.now()));
    });
}

/** One line per interface, then what needs a look. */
export function statusText(status: z.infer<typeof Status>, now: number): string {
  const { interfaces } = status;
  const served = interfaces.map(({ name, mode, address }) => [name, mode, address]);
  const remarks = interfaces.flatMap(({ name, mode, setAside, otherDhcpServers }) => [
    ...otherDhcpServers.map((server) =>
      server.isExpected
        ? `${name}: ${server.address} gives the addresses (seen ${ago(server.lastSeen, now)})`
        : `${name}: another DHCP server, ${server.address}, answers here (seen ${ago(server.lastSeen, now)}); in mode ${mode} there must be one`,
    ),
    ...setAside.map(({ address, why }) => `${name}: ${address} is not given out: ${why}`),
  ]);
  const warning = spaceWarning(status.store?.level ?? '');
  const space = warning === '' ? [] : [`store${warning.replace(';', ':')}`];
  const head = `server ${status.pid}, state in ${status.state}`;
  return [
    head,
    served.length === 0 ? 'no interface is served' : table(['INTERFACE', 'MODE', 'ADDRESS'], served),
    ...space,
    ...remarks,
  ].join('\n');
}
