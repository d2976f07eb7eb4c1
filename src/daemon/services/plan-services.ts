/** What the services that are switched on would change, without changing anything. */
import type { InterfaceSettings, Settings } from '../../config/schema.ts';
import { findInterface } from '../../net/interfaces.ts';
import type { GatewayFacts } from '../../policy/gateway-rules.ts';
import { gatewayChanges, nameServerChanges } from '../../policy/service-changes.ts';
import { forwardingFile, forwardingOf } from './forwarding.ts';
import { findUplink } from './gateway.ts';
import type { ServedLink, ServiceView } from './services.ts';

export type PlannedService = Pick<ServiceView, 'service' | 'interface' | 'changes'>;

/** @throws UserError when an interface is not there */
export async function planServices(settings: Settings): Promise<PlannedService[]> {
  const wanted = settings.interfaces.filter(({ mode }) => mode === 'full');
  const links = await Promise.all(wanted.map(async (entry) => ({ entry, link: await linkOf(entry) })));
  const gateways = links.filter(({ entry }) => entry.gateway).map(({ link }) => link);
  const gateway = gateways.length > 0 ? await planGateway(settings.uplink, gateways) : undefined;
  return links.flatMap(({ entry, link: { name, address } }): PlannedService[] => [
    ...(entry.nameServer ? [{ service: 'dns' as const, interface: name, changes: nameServerChanges(address, settings.domain) }] : []),
    ...(gateway && entry.gateway ? [{ service: 'gateway' as const, interface: name, changes: gateway(address) }] : []),
  ]);
}

async function linkOf(wanted: InterfaceSettings): Promise<ServedLink> {
  const facts = await findInterface(wanted.name);
  const subnets = [wanted.subnet ?? facts.subnet, ...wanted.relayed.map(({ subnet }) => subnet)];
  return { name: facts.name, address: facts.address, subnets };
}

async function planGateway(named: string | undefined, links: readonly ServedLink[]): Promise<(address: ServedLink['address']) => string[]> {
  const names = links.map(({ name }) => name);
  const uplink = await findUplink(named, names);
  const closed: string[] = [];
  for (const name of [...names, ...(uplink === undefined ? [] : [uplink])]) {
    if ((await forwardingOf(name)) === '0') {
      closed.push(name);
    }
  }
  const facts: GatewayFacts = {
    links,
    isUplinkOpened: uplink !== undefined && closed.includes(uplink),
    ...(uplink === undefined ? {} : { uplink }),
  };
  return (address) => gatewayChanges(facts, closed.map(forwardingFile), address);
}
