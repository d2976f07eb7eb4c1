import { readFile } from 'node:fs/promises';
import { z } from 'zod';
import { UserError } from '../domain/errors.ts';
import { type Ipv4, parseIpv4, type Subnet, subnetOf } from '../domain/ipv4.ts';
import { type Mac, parseMac } from '../domain/mac.ts';
import { run } from '../process/run.ts';

export interface InterfaceFacts {
  readonly name: string;
  /** The kernel's number of it: another one when it was made anew under the same name. */
  readonly index: number;
  readonly address: Ipv4;
  readonly subnet: Subnet;
}

const IpAddressOutput = z.array(
  z.object({
    ifindex: z.int().optional(),
    ifname: z.string().optional(),
    addr_info: z.array(z.object({ family: z.string(), local: z.string(), prefixlen: z.int() })).optional(),
  }),
);

/** Every interface that has an IPv4 address; its first one. Also those without a link: a cable may come later. */
export async function listInterfaces(): Promise<InterfaceFacts[]> {
  const output = IpAddressOutput.parse(JSON.parse(await run('ip', ['-json', '-4', 'address', 'show'])));
  return output.flatMap(({ ifindex, ifname, addr_info: addresses }) => {
    const first = addresses?.find((entry) => entry.family === 'inet');
    if (ifindex === undefined || ifname === undefined || !first) {
      return [];
    }
    const address = parseIpv4(first.local);
    return [{ name: ifname, index: ifindex, address, subnet: subnetOf(address, first.prefixlen) }];
  });
}

/** @throws UserError not-found, naming the interfaces that exist */
export async function findInterface(name: string): Promise<InterfaceFacts> {
  const all = await listInterfaces();
  const found = all.find((facts) => facts.name === name);
  if (found) {
    return found;
  }
  const known = all.map((facts) => `${facts.name} (${facts.address})`).join(', ') || 'none';
  throw new UserError('not-found', `There is no interface "${name}" with an IPv4 address`, { hint: `Those that have one: ${known}` });
}

/** What the kernel knows of its neighbours on every link: who really uses an address. */
export async function readNeighbours(): Promise<ReadonlyMap<Ipv4, Mac>> {
  const table = await readFile('/proc/net/arp', 'utf8');
  const neighbours = new Map<Ipv4, Mac>();
  for (const line of table.split('\n').slice(1)) {
    const [address, , flags, mac] = line.split(/\s+/);
    const complete = (Number(flags) & 2) !== 0;
    // Links that are no Ethernet have other hardware addresses.
    if (address && complete && mac && /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/i.test(mac)) {
      neighbours.set(parseIpv4(address), parseMac(mac));
    }
  }
  return neighbours;
}
