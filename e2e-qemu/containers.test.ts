import { expect, test } from 'vitest';
import { pcSerial, ready, useRealImages, virtualPc } from '../test/support/guests.ts';
import { cardless, startLab } from '../test/support/lab-server.ts';

const image = 'debian-docker';

/** A root of a container out of the guest's own programs: nothing is fetched from anywhere. */
const makeImage = [
  'set -e',
  'rm -rf /tmp/c; mkdir /tmp/c',
  'for program in /bin/sh /bin/bash /bin/cat /bin/uname; do',
  '  cp -L --parents "$program" /tmp/c',
  '  ldd "$program" | grep -o \'/[^ ]*\' | xargs -I{} cp -L --parents {} /tmp/c',
  'done',
  'echo from-the-image >/tmp/c/words',
  'tar -C /tmp/c -c . | docker import - own >/dev/null',
].join('\n');

/** Says which of the server's ports can be connected to: that of its pages, not that of the disks. */
const reach = 'for port in 8067 10809; do (exec 3<>/dev/tcp/10.78.0.1/$port) 2>/dev/null && echo $port; done; true';

test('Docker runs a container with overlay2 on the data volume, and both outlive a reimage', async () => {
  // Not by the lab's server, which has no way to a mirror.
  const built = await cardless(['image', 'build', image, '--arch', 'amd64']);
  expect(built.code, built.stderr).toBe(0);
  await using lab = await startLab('containers');
  await useRealImages(lab);
  const command = async (...args: string[]): Promise<void> => {
    const { code, stderr } = await cardless(['--state', lab.state, ...args]);
    expect(code, stderr).toBe(0);
  };
  await command('node', 'add', 'pc1', '--serial', pcSerial, '--image', image);
  const ssh = (line: string): Promise<string> => lab.server.ssh('pc1', line, new AbortController().signal);
  await using pc = virtualPc(lab);
  await pc.powerOn();
  const first = await ready(lab.server, 'pc1', pc);
  // Its recipe wants a data volume, so nobody had to ask for one.
  expect(await ssh('findmnt -nro SOURCE,FSTYPE -T /var/lib/docker')).toBe('/dev/nbd2[/var/lib/docker] ext4');
  expect(await ssh("docker info --format '{{.Driver}} {{.DockerRootDir}}'")).toBe('overlay2 /var/lib/docker');
  await ssh(makeImage);
  const run = 'docker run --rm --network none';
  expect(await ssh(`${run} own /bin/sh -c 'cat /words; uname -s'`)).toBe('from-the-image\nLinux');
  expect(await ssh(`docker run --rm own /bin/bash -c '${reach}'`)).toBe('8067');
  expect(await ssh(`setpriv --reuid 65534 --clear-groups bash -c '${reach}'`)).toBe('8067');
  expect(await ssh(`bash -c '${reach}'`)).toBe('8067\n10809');
  await ssh(`${run} --name kept -v kept:/kept own /bin/sh -c 'echo written >/kept/file'`);

  await command('reimage', 'pc1');
  await ssh('systemctl reboot').catch(() => undefined);
  await ready(lab.server, 'pc1', pc, first.boot?.id);
  expect(await ssh(`${run} -v kept:/kept own /bin/cat /kept/file`)).toBe('written');
  expect(await ssh('dmesg')).not.toMatch(/I\/O error|Remounting filesystem read-only/);
});
