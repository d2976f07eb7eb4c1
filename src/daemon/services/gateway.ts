/** NAT for nodes: a table of nftables and the forwarding of the interfaces concerned. All of it goes when the last link goes. */
import { z } from 'zod';
import { messageOf, UserError } from '../../domain/errors.ts';
import { chooseUplink, forwardBlockers, type GatewayFacts, gatewayRuleset, gatewayTable } from '../../policy/gateway-rules.ts';
import { gatewayChanges } from '../../policy/service-changes.ts';
import { run } from '../../process/run.ts';
import { Forwarding } from './forwarding.ts';
import type { RunningService, ServedLink, ServicesOptions } from './services.ts';

/** Other programs replace all rules of the machine when they start; and uplinks come and go. */
const lookEveryMs = 5000;

const Routes = z.array(z.object({ dev: z.string(), metric: z.number().optional() }));
const Chain = z.object({
  family: z.string(),
  table: z.string(),
  name: z.string(),
  hook: z.string().optional(),
  policy: z.string().optional(),
});
const Chains = z.object({ nftables: z.array(z.object({ chain: Chain.optional() })) });

/** The uplink as it is named, or found. */
export async function findUplink(named: string | undefined, links: readonly string[]): Promise<string | undefined> {
  if (named !== undefined) {
    return named;
  }
  const text = await run('ip', ['-json', '-4', 'route', 'show', 'default']);
  return chooseUplink(Routes.parse(JSON.parse(text === '' ? '[]' : text)), links);
}

export class Gateway {
  readonly #options: ServicesOptions;
  readonly #forwarding: Forwarding;
  readonly #links = new Map<string, ServedLink>();
  #facts: GatewayFacts = { links: [], isUplinkOpened: false };
  #blockers: readonly string[] = [];
  #queue: Promise<void> = Promise.resolve();
  #cancel = (): void => {};

  constructor(options: ServicesOptions) {
    this.#options = options;
    this.#forwarding = new Forwarding(options.places.state);
  }

  /** What a run that was killed left behind. */
  async restore(): Promise<void> {
    if (await this.#forwarding.isLeft()) {
      await this.#remove();
      this.#options.log.info({}, 'what an earlier run had opened as a gateway is closed');
    }
  }

  /** @throws UserError when the rules cannot be made */
  async start(link: ServedLink): Promise<RunningService> {
    if (link.name === this.#options.settings.uplink) {
      throw new UserError('bad-input', `${link.name} cannot be uplink and a subnet of nodes at once`, {
        hint: 'Name the interface that leads to the world as uplink',
      });
    }
    this.#links.set(link.name, link);
    try {
      await this.#inTurn(() => this.#apply());
    } catch (error) {
      await this.#stop(link);
      throw error;
    }
    this.#lookLater();
    return {
      changes: () => gatewayChanges(this.#facts, this.#forwarding.opened, link.address),
      status: () => ({ uplink: this.#facts.uplink ?? 'none', blockedBy: this.#blockers }),
      [Symbol.asyncDispose]: () => this.#stop(link),
    };
  }

  async #stop(link: ServedLink): Promise<void> {
    this.#links.delete(link.name);
    await this.#inTurn(async () => {
      if (this.#links.size > 0) {
        await this.#apply();
      } else {
        this.#cancel();
        await this.#remove();
      }
    });
  }

  async #apply(): Promise<void> {
    const { log } = this.#options;
    const facts = await this.#factsNow();
    const { uplink } = facts;
    const wanted = interfacesOf(facts);
    await this.#forwarding.remember(wanted);
    // The rules first: nothing may pass that no rule is for.
    await run('nft', ['-f', '-'], { input: gatewayRuleset(facts) });
    await this.#forwarding.open(wanted);
    this.#facts = facts;
    this.#blockers = await blockersNow();
    if (uplink === undefined) {
      log.warn({ links: wanted }, 'the gateway has no uplink: this machine has no default route yet');
    } else {
      log.info({ interfaces: wanted, uplink }, 'gateway is open');
    }
    if (this.#blockers.length > 0) {
      log.warn({ chains: this.#blockers }, 'another firewall of this machine drops what is forwarded; let it pass there as well');
    }
  }

  async #factsNow(): Promise<GatewayFacts> {
    const links = [...this.#links.values()];
    const uplink = await findUplink(
      this.#options.settings.uplink,
      links.map(({ name }) => name),
    );
    return uplink === undefined
      ? { links, isUplinkOpened: false }
      : { links, uplink, isUplinkOpened: await this.#forwarding.isOurs(uplink) };
  }

  /** Closed before the rules go. */
  async #remove(): Promise<void> {
    await this.#forwarding.close();
    await run('nft', ['-f', '-'], { input: `table ${gatewayTable}\ndelete table ${gatewayTable}\n` });
    await this.#forwarding.forget();
    this.#facts = { links: [], isUplinkOpened: false };
  }

  #lookLater(): void {
    this.#cancel();
    this.#cancel = this.#options.clock.after(lookEveryMs, () => {
      this.#inTurn(() => this.#look())
        .catch((error: unknown) => this.#options.log.warn({ reason: messageOf(error) }, 'the gateway cannot be looked after'))
        .finally(() => this.#links.size > 0 && this.#lookLater());
    });
  }

  async #look(): Promise<void> {
    if (this.#links.size === 0) {
      return;
    }
    const now = await this.#factsNow();
    const { uplink } = now;
    const isSame = uplink === this.#facts.uplink && now.isUplinkOpened === this.#facts.isUplinkOpened;
    const isStale = await this.#forwarding.isStale(interfacesOf(now));
    const isThere = await run('nft', ['list', 'table', ...gatewayTable.split(' ')]).then(
      () => true,
      () => false,
    );
    if (!isSame || !isThere || isStale) {
      this.#options.log.warn({ uplink: uplink ?? 'none', rules: isThere ? 'there' : 'gone' }, 'the gateway is set up again');
      await this.#apply();
    }
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#queue.then(work);
    this.#queue = turn.catch(() => {});
    return turn;
  }
}

function interfacesOf({ links, uplink }: GatewayFacts): string[] {
  return [...links.map(({ name }) => name), ...(uplink === undefined ? [] : [uplink])];
}

async function blockersNow(): Promise<string[]> {
  const { nftables } = Chains.parse(JSON.parse(await run('nft', ['-j', 'list', 'chains'])));
  return forwardBlockers(nftables.flatMap(({ chain }) => (chain ? [chain] : [])));
}
