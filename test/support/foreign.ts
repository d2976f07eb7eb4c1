/** Other people's things on the lab's network. */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { parseMac } from '#src/domain/mac.ts';
import { insideNamespace } from '#src/sim/lab.ts';
import { inLab, ran, type TestLab } from './lab-server.ts';

/** A home router that gives addresses and knows nothing of network boot: dnsmasq, DHCP only. */
export async function startRouter(lab: TestLab): Promise<AsyncDisposable> {
  const namespace = await lab.lab.addBoard(parseMac('52:54:00:00:00:fe'));
  const pidFile = join(lab.state, 'router.pid');
  const options = [
    '--conf-file=/dev/null',
    '--port=0',
    '--interface=eth0',
    '--bind-interfaces',
    '--dhcp-range=10.78.0.100,10.78.0.150,1h',
    '--user=root',
    `--dhcp-leasefile=${join(lab.state, 'router.leases')}`,
    `--pid-file=${pidFile}`,
  ];
  await ran(...insideNamespace(namespace, 'ip', ['address', 'add', '10.78.0.254/24', 'dev', 'eth0']));
  const started = await ran(...insideNamespace(namespace, 'dnsmasq', options));
  if (started.code !== 0) {
    throw new Error(`dnsmasq did not start: ${started.stderr}`);
  }
  return {
    [Symbol.asyncDispose]: async () => {
      process.kill(Number(await readFile(pidFile, 'utf8')), 'SIGTERM');
    },
  };
}

/**
 * Every BIOS PXE ROM that Debian has is iPXE. Its PXE half loads an undionly.kpxe as Intel's and Realtek's ROMs do, but in
 * DHCP it says who it is, so that a server sends it on to HTTP at once. Until the function that this gives is called, the
 * lab's bridge renames options 77 and 175 on the way to the server: what is left is the request of a plain PXE ROM. The
 * places are those of iPXE 1.0.0+git-20190125 (test/captures/ipxe-discover.hex).
 */
export async function hideIpxe(lab: TestLab): Promise<() => Promise<void>> {
  const udpHeader = 8;
  const rule = (at: number, from: number, to: number): string => {
    const field = `@th,${(udpHeader + at) * 8},8`;
    return `udp dport 67 ${field} ${from} ${field} set ${to} udp checksum set 0`;
  };
  const commands = [
    'add table bridge mask',
    'add chain bridge mask early { type filter hook prerouting priority -300; }',
    `add rule bridge mask early ${rule(290, 77, 224)}`,
    `add rule bridge mask early ${rule(321, 175, 225)}`,
  ];
  for (const command of commands) {
    const done = await inLab(lab.lab, 'nft', command);
    if (done.code !== 0) {
      throw new Error(`nft ${command}: ${done.stderr}`);
    }
  }
  return async () => {
    await inLab(lab.lab, 'nft', 'delete table bridge mask');
  };
}
