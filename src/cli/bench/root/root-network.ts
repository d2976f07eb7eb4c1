/** The network of one contender: a bridge for the guests, and the server behind a port of a given speed. */
import { z } from 'zod';
import { parseIpv4, parseSubnet } from '../../../domain/ipv4.ts';
import { run } from '../../../process/run.ts';
import { Lab, labBridge, removeNamespace } from '../../../sim/lab.ts';
import type { Segment } from '../bench-network.ts';
import type { LinkName } from './root-figures.ts';

const subnet = parseSubnet('10.77.0.0/16');
const serverAddress = parseIpv4('10.77.0.1');
/** Of programs beside the guests. */
export const benchClient = parseIpv4('10.77.0.2');
/** 200 clients from here on, on addresses that are the lab's own. */
export const firstOfManyClients = parseIpv4('10.77.200.1');
const manyClients = '10.77.200.0/24';
const serverInterface = 'eth0';
/** The bridge's port to the server. */
const serverPort = 'server';

const QueueStatistics = z.array(z.object({ kind: z.string(), bytes: z.number() }));

export class RootNetwork implements AsyncDisposable {
  readonly lab: Lab;
  readonly segment: Segment;

  private constructor(lab: Lab, namespace: string) {
    this.lab = lab;
    this.segment = {
      namespace,
      interfaceName: serverInterface,
      // The bridge: there is no link to one server alone.
      clientInterface: labBridge,
      subnet,
      server: serverAddress,
      relay: benchClient,
      firstClient: firstOfManyClients,
    };
  }

  static async create(name: string): Promise<RootNetwork> {
    const lab = await Lab.create({ name: `root-${name}`, address: benchClient, subnet });
    const network = new RootNetwork(lab, `${lab.namespace}-server`);
    try {
      await network.#plugIn();
      return network;
    } catch (error) {
      await network[Symbol.asyncDispose]();
      throw error;
    }
  }

  async #plugIn(): Promise<void> {
    const { namespace } = this.segment;
    const inLab = ['-n', this.lab.namespace];
    await run('ip', ['netns', 'add', namespace]);
    await run('ip', ['-n', namespace, 'link', 'set', 'lo', 'up']);
    const peer = ['type', 'veth', 'peer', 'name', serverPort, 'netns', this.lab.namespace];
    await run('ip', ['-n', namespace, 'link', 'add', serverInterface, ...peer]);
    await run('ip', ['-n', namespace, 'address', 'add', `${serverAddress}/${subnet.prefix}`, 'dev', serverInterface]);
    await run('ip', [...inLab, 'link', 'set', serverPort, 'master', labBridge, 'up']);
    await run('ip', ['-n', namespace, 'link', 'set', serverInterface, 'up']);
    await run('ip', [...inLab, 'route', 'add', 'local', manyClients, 'dev', 'lo']);
  }

  /** The server's port from now on, in both directions (tc-tbf(8)). */
  async shape(link: LinkName): Promise<void> {
    for (const [namespace, device] of this.#directions()) {
      // A burst of 128 KiB is two of the largest packets that the stack hands over at once.
      const filter = ['tbf', 'rate', link, 'burst', '128k', 'latency', '50ms'];
      await run('tc', ['-n', namespace, 'qdisc', 'replace', 'dev', device, 'root', ...filter]);
    }
  }

  /** Both directions of the server's port, in frames as they are on the wire: tbf counts the headers of each segment. */
  async wireBytes(): Promise<number> {
    let sum = 0;
    for (const [namespace, device] of this.#directions()) {
      const text = await run('tc', ['-n', namespace, '-s', '-j', 'qdisc', 'show', 'dev', device]);
      sum += QueueStatistics.parse(JSON.parse(text)).find((queue) => queue.kind === 'tbf')?.bytes ?? Number.NaN;
    }
    return sum;
  }

  #directions(): readonly (readonly [string, string])[] {
    return [
      [this.segment.namespace, serverInterface],
      [this.lab.namespace, serverPort],
    ];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await removeNamespace(this.segment.namespace);
    await this.lab[Symbol.asyncDispose]();
  }
}
