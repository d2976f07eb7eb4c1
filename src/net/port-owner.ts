import { readdir, readFile, readlink } from 'node:fs/promises';
import { type Ipv4, ipv4Bytes } from '../domain/ipv4.ts';

/** Who holds a UDP or TCP port of this address: "dnsmasq (pid 812)", or undefined when that cannot be seen. */
export async function portOwner(protocol: 'udp' | 'tcp', port: number, address: Ipv4): Promise<string | undefined> {
  const holder = await portHolder(protocol, port, address);
  return holder && `${holder.name} (pid ${holder.pid})`;
}

/** Reads the socket's inode from /proc/net and looks for a process that has it open. */
export async function portHolder(
  protocol: 'udp' | 'tcp',
  port: number,
  address: Ipv4,
): Promise<{ readonly name: string; readonly pid: number } | undefined> {
  const inodes = new Set<string>();
  for (const file of [protocol, `${protocol}6`]) {
    // A kernel without IPv6 has no tcp6.
    const table = await readFile(`/proc/net/${file}`, 'utf8').catch(() => '');
    for (const line of table.split('\n').slice(1)) {
      const fields = line.trim().split(/\s+/);
      const local = fields[1];
      const inode = fields[9];
      // 0A is LISTEN: the connections of an earlier server do not hold its port.
      const holds = protocol === 'udp' || fields[3] === '0A';
      if (holds && local && inode && isOn(local, address, port)) {
        inodes.add(`socket:[${inode}]`);
      }
    }
  }
  for (const pid of (await readdir('/proc')).filter((name) => /^\d+$/.test(name))) {
    // Processes end while we look, and those of others cannot be read.
    const descriptors = await readdir(`/proc/${pid}/fd`).catch(() => []);
    for (const fd of descriptors) {
      const target = await readlink(`/proc/${pid}/fd/${fd}`).catch(() => '');
      if (inodes.has(target)) {
        const name = await readFile(`/proc/${pid}/comm`, 'utf8').catch(() => '?');
        return { name: name.trim(), pid: Number(pid) };
      }
    }
  }
  return undefined;
}

/** `0100000A:2A39` is 10.0.0.1:10809, the address in the byte order of this machine. All zeros stands for every address. */
function isOn(local: string, address: Ipv4, port: number): boolean {
  const [hex = '', portHex = ''] = local.split(':');
  const own = Buffer.from(ipv4Bytes(address)).reverse().toString('hex').toUpperCase();
  return Number.parseInt(portHex, 16) === port && (/^0+$/.test(hex) || hex.endsWith(own));
}
