/** What the server does for a subnet besides booting it, each by a switch of its own. */
import type { Places } from '../../config/places.ts';
import type { InterfaceSettings, Settings } from '../../config/schema.ts';
import type { Clock } from '../../domain/clock.ts';
import { contains, type Ipv4, type Subnet } from '../../domain/ipv4.ts';
import type { Node } from '../../domain/node.ts';
import type { Logger } from '../../log/logger.ts';
import type { InterfaceFacts } from '../../net/interfaces.ts';
import type { NodeServices } from '../../policy/render-service-files.ts';
import { sharedOf } from '../../policy/shared-directories.ts';
import type { LeaseStore } from '../../store/leases.ts';
import type { NodeStore } from '../../store/nodes.ts';
import type { BootSessions } from '../boot-sessions.ts';
import { Gateway } from './gateway.ts';
import { NameService } from './name-service.ts';
import { SharedService } from './shared-service.ts';
import { TimeService } from './time-service.ts';

export interface ServicesOptions {
  readonly settings: Settings;
  readonly places: Places;
  readonly nodes: NodeStore;
  readonly leases: LeaseStore;
  readonly sessions: Pick<BootSessions, 'of'>;
  readonly addressOf: (node: Node) => Ipv4 | undefined;
  /** Those that are served. */
  readonly interfaces: readonly { readonly settings: InterfaceSettings; readonly facts: InterfaceFacts }[];
  readonly clock: Clock;
  readonly log: Logger;
}

/** An interface with its subnets, the one of the link first. */
export interface ServedLink {
  readonly name: string;
  readonly address: Ipv4;
  readonly subnets: readonly Subnet[];
}

export interface RunningService extends AsyncDisposable {
  /** What it changed on this machine, and what it tells nodes. */
  readonly changes: () => readonly string[];
  readonly status: () => object;
}

export type ServiceName = 'dns' | 'gateway' | 'time' | 'shared';

export interface ServiceView {
  readonly service: ServiceName;
  readonly interface: string;
  readonly since: number;
  readonly changes: readonly string[];
  readonly status: object;
}

type Starter = (link: ServedLink, wanted: InterfaceSettings) => Promise<RunningService>;

export class Services {
  readonly #options: ServicesOptions;
  readonly #running = new Set<() => ServiceView>();
  readonly #names: NameService;
  readonly #gateway: Gateway;
  readonly #time: TimeService;
  readonly #shared: SharedService;

  constructor(options: ServicesOptions) {
    this.#options = options;
    this.#names = new NameService(options);
    this.#gateway = new Gateway(options);
    this.#time = new TimeService(options);
    this.#shared = new SharedService(options);
  }

  list(): readonly ServiceView[] {
    return [...this.#running].map((view) => view());
  }

  /** Those of one interface. @throws UserError when one cannot be: somebody else has its port, for one */
  async start(wanted: InterfaceSettings, facts: InterfaceFacts): Promise<AsyncDisposable> {
    await using stack = new AsyncDisposableStack();
    const link = linkOf(wanted, facts);
    for (const [service, start] of this.#startersOf(wanted)) {
      const running = stack.use(await start(link, wanted));
      this.#note(service, link, running, stack);
    }
    return stack.move();
  }

  /** What this node finds in its subnet. */
  forNode(node: Node): NodeServices {
    const address = this.#options.addressOf(node);
    const found = this.#options.interfaces.find(
      ({ settings, facts }) => address !== undefined && linkOf(settings, facts).subnets.some((subnet) => contains(subnet, address)),
    );
    if (found === undefined) {
      return {};
    }
    const { settings, facts } = found;
    const shared = { server: facts.address, base: this.#shared.base, directories: sharedOf(node.settings) };
    return {
      ...(settings.timeServer === false ? {} : { timeServer: facts.address }),
      ...(settings.sharedDirectory ? { shared } : {}),
    };
  }

  /** Before anything is served: puts back what an earlier run could not. */
  async restore(): Promise<void> {
    await this.#gateway.restore();
    await this.#shared.restore();
  }

  #startersOf({ nameServer, gateway, timeServer, sharedDirectory }: InterfaceSettings): (readonly [ServiceName, Starter])[] {
    const all: readonly (readonly [ServiceName, boolean, Starter])[] = [
      ['dns', nameServer, (link) => this.#names.start(link)],
      ['gateway', gateway, (link) => this.#gateway.start(link)],
      ['time', timeServer !== false, (link) => this.#time.start(link, timeServer === 'local')],
      ['shared', sharedDirectory, (link) => this.#shared.start(link)],
    ];
    return all.flatMap(([name, isOn, start]) => (isOn ? [[name, start] as const] : []));
  }

  #note(service: ServiceName, { name, address }: ServedLink, running: RunningService, stack: AsyncDisposableStack): void {
    const { clock, log } = this.#options;
    const since = clock.now();
    const view = (): ServiceView => ({ service, interface: name, since, changes: running.changes(), status: running.status() });
    this.#running.add(view);
    stack.defer(() => void this.#running.delete(view));
    log.info({ service, interface: name, address }, 'service is on');
  }
}

export function linkOf(wanted: InterfaceSettings, { name, address, subnet }: InterfaceFacts): ServedLink {
  return { name, address, subnets: [wanted.subnet ?? subnet, ...wanted.relayed.map((relayed) => relayed.subnet)] };
}
