/** What the services that are switched on would change, without changing anything. */
import type { Settings } from '../../config/schema.ts';
import { findInterface } from '../../net/interfaces.ts';
import type { GatewayFacts } from '../../policy/gateway-rules.ts';
import { gatewayChanges, nameServerChanges, sharedChanges, timeServerChanges } from '../../policy/service-changes.ts';
import type { NfsChoice } from '../../policy/shared-directories.ts';
import { exportsFile } from '../../servers/nfs/kernel-nfs.ts';
import { forwardingFile, forwardingOf } from './forwarding.ts';
import { findUplink } from './gateway.ts';
import { linkOf, type ServedLink, type ServiceView } from './services.ts';
import { nfsChoice } from './shared-service.ts';

export type PlannedService = Pick<ServiceView, 'service' | 'interface' | 'changes'>;

/** @throws UserError when an interface is not there */
export async function planServices(settings: Settings): Promise<PlannedService[]> {
  const wanted = settings.interfaces.filter(({ mode }) => mode === 'full');
  const links = await Promise.all(wanted.map(async (entry) => ({ entry, link: linkOf(entry, await findInterface(entry.name)) })));
  const gateways = links.filter(({ entry }) => entry.gateway).map(({ link }) => link);
  const gateway = gateways.length > 0 ? await planGateway(settings.uplink, gateways) : undefined;
  const nfs = wanted.some(({ sharedDirectory }) => sharedDirectory) ? await nfsChoice() : undefined;
  return links.flatMap(({ entry, link: { name, address } }): PlannedService[] => [
    ...(entry.nameServer ? [{ service: 'dns' as const, interface: name, changes: nameServerChanges(address, settings.domain) }] : []),
    ...(gateway && entry.gateway ? [{ service: 'gateway' as const, interface: name, changes: gateway(address) }] : []),
    ...(entry.timeServer === false
      ? []
      : [{ service: 'time' as const, interface: name, changes: timeServerChanges(address, entry.timeServer === 'local') }]),
    ...(entry.sharedDirectory && nfs ? [{ service: 'shared' as const, interface: name, changes: planShared(nfs, address) }] : []),
  ]);
}

/** The registry is the server's: which node has what is in `service list` when it runs. */
function planShared(nfs: NfsChoice, address: ServedLink['address']): string[] {
  const isKernel = nfs.kind === 'kernel' || (nfs.kind === 'missing' && nfs.packages === 'nfs-kernel-server');
  const install = nfs.kind === 'missing' ? [`installs ${nfs.packages}`] : [];
  return [...install, ...sharedChanges({ server: isKernel ? 'kernel' : 'ganesha', address, exports: [], file: exportsFile })];
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
