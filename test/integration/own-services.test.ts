import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { projectRoot } from '#src/config/places.ts';
import { parseMac } from '#src/domain/mac.ts';
import { insideNamespace } from '#src/sim/lab.ts';
import { cardless, ran, startLab, subnet } from '../support/lab-server.ts';

const mac = '52:54:00:00:05:05';

test("a real DHCP client is told of all of them, and our initramfs' script makes name servers and domain of it", async () => {
  const services = ['--name-server', '--gateway', '--time-server', 'local'];
  await using lab = await startLab('ownservices', ['--mode', 'full', '--subnet', subnet, ...services]);
  expect((await cardless(['--state', lab.state, 'node', 'add', 'red5', '--mac', mac, '--ip', '10.78.0.20'])).stderr).toBe('');
  const namespace = await lab.lab.addBoard(parseMac(mac));
  const script = join(lab.state, 'show.sh');
  await writeFile(script, '#!/bin/sh\necho "$1 $ip $router $dns $domain $search $ntpsrv"\n', { mode: 0o755 });
  const asked = ['-O', 'search', '-O', 'ntpsrv'].concat(['-f', '-q', '-n', '-i', 'eth0', '-s', script]);
  const told = await ran(...insideNamespace(namespace, 'busybox', ['udhcpc', ...asked]));
  expect(told.stdout).toContain('bound 10.78.0.20 10.78.0.1 10.78.0.1 cluster.internal cluster.internal 10.78.0.1');

  // The script writes to /run/cardless; its interpreter is that of the initramfs.
  const run = join(lab.state, 'run-of-node');
  const given = 'bound=1 interface=eth0 ip=10.78.0.20 mask=24 router=10.78.0.1 dns=10.78.0.1 domain="x\'; touch /tmp/y"';
  const shell = `mkdir -p '${run}' && mount --bind '${run}' /run && mkdir /run/cardless && env ${given} sh '${projectRoot}/rootfs/initramfs/udhcpc.script' bound`;
  expect(await ran(...insideNamespace(namespace, 'unshare', ['-m', 'sh', '-c', shell]))).toMatchObject({ code: 0 });
  const lease = await ran('sh', ['-c', `. '${run}/cardless/lease' && echo "$LEASE_DNS $LEASE_DOMAIN"`]);
  expect(lease).toEqual({ code: 0, stdout: '10.78.0.1 xtouchtmpy', stderr: '' });
});
