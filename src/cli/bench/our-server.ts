/** Our own server on its segment: `cardless up` as an operator starts it, with nodes registered and an image published. */
import { randomFillSync } from 'node:crypto';
import { chmod, mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { findPlaces, projectRoot } from '../../config/places.ts';
import { parseImageName } from '../../domain/image.ts';
import { type Ipv4, ipv4FromNumber, ipv4ToNumber } from '../../domain/ipv4.ts';
import { publishImage } from '../../images/publish.ts';
import type { Child } from '../../process/supervise.ts';
import { type AdminClient, adminClient, untilAnswers } from '../admin-client.ts';
import { demoImage } from '../ensure-images.ts';
import type { Segment } from './bench-network.ts';
import { type Contender, startContender } from './contender.ts';
import { clientMac } from './load-clients.ts';

/** One request for each so many nodes, so that progress can be cancelled between them. */
const nodesPerRequest = 250;

export interface OurServer extends Contender {
  readonly client: AdminClient;
}

export async function startOurServer(segment: Segment, state: string): Promise<OurServer> {
  await mkdir(state, { recursive: true });
  const places = findPlaces({ state, env: {} });
  const { network, prefix } = segment.subnet;
  const serving = ['--interface', segment.interfaceName, '--mode', 'full', '--subnet', `${network}/${prefix}`, '--log-level', 'warn'];
  const command = [process.execPath, [join(projectRoot, 'src/main.ts'), '--state', state, 'up', ...serving]] as const;
  const client = adminClient(places.adminSocket);
  const untilReady = (child: Child, said: readonly string[]): Promise<void> => untilAnswers(client, child, said);
  return { ...(await startContender({ name: 'ours', segment, command, untilReady })), client };
}

/** Nodes with the hardware addresses of the load clients, from 0 on; with `firstAddress` each has an address of its own. */
export async function registerNodes(client: AdminClient, count: number, signal: AbortSignal, firstAddress?: Ipv4): Promise<void> {
  for (let from = 0; from < count && !signal.aborted; from += nodesPerRequest) {
    const indexes = Array.from({ length: Math.min(nodesPerRequest, count - from) }, (_, index) => from + index);
    const addresses =
      firstAddress === undefined ? {} : { ip: indexes.map((index) => ipv4FromNumber(ipv4ToNumber(firstAddress) + index)).join(',') };
    const name = indexes.length === 1 ? `load${from + 1}` : `load[${from + 1}-${from + indexes.length}]`;
    await client.call('POST', '/nodes', { name, mac: indexes.map(clientMac).join(','), ...addresses });
  }
}

/** A boot image that only has files to fetch; gives the folder with them. Bytes that do not compress, so nothing is spared. */
export async function publishFiles(state: string, files: Readonly<Record<string, number>>): Promise<string> {
  const { images, work } = findPlaces({ state, env: {} });
  const draft = join(work, 'bench-image');
  await rm(draft, { recursive: true, force: true });
  await mkdir(join(draft, 'boot'), { recursive: true });
  for (const [name, bytes] of Object.entries(files)) {
    const file = join(draft, 'boot', name);
    await writeFile(file, randomFillSync(Buffer.alloc(bytes)));
    await chmod(file, 0o644);
  }
  await writeFile(join(draft, 'root.img'), '');
  const facts = { name: parseImageName(demoImage), arch: 'amd64', kernelVersion: 'bench', rootFormat: 'erofs' } as const;
  const image = await publishImage(draft, facts, images, new Date());
  return join(images, image.digest, 'boot');
}
