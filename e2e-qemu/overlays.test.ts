import { mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { NodeView } from '#src/cli/node/node-view.ts';
import { parseImageName } from '#src/domain/image.ts';
import { ImageCatalog } from '#src/images/catalog.ts';
import { publishImage } from '#src/images/publish.ts';
import { run } from '#src/process/run.ts';
import { pcSerial, ready, realImages, virtualPc } from '../test/support/guests.ts';
import { cardless, serverLog, startLab, type TestLab, until } from '../test/support/lab-server.ts';

/** An image for PCs, and a version of it that differs in a file. */
async function useTwoVersions(lab: TestLab): Promise<{ first: string; second: string }> {
  const image = await new ImageCatalog(realImages).newest(parseImageName('debian-13'), 'amd64');
  if (!image) {
    throw new Error('there is no debian-13 for amd64');
  }
  const images = join(lab.state, 'images');
  await mkdir(images);
  await symlink(join(realImages, image.digest), join(images, image.digest));
  const draft = await mkdtemp(join(tmpdir(), 'cardless-draft-'));
  await run('cp', ['-a', '--reflink=auto', join(realImages, image.digest, 'boot'), join(realImages, image.digest, 'root.img'), draft]);
  await writeFile(join(draft, 'boot/note.txt'), 'another version\n');
  const { arch, kernelVersion, rootFormat } = image;
  const second = await publishImage(draft, { name: parseImageName('debian-next'), arch, kernelVersion, rootFormat }, images, new Date());
  return { first: image.digest.slice(0, 12), second: second.digest.slice(0, 12) };
}

const newsOf = (node: NodeView): string[] => (node.boot?.events ?? []).map(({ what, detail }) => `${what}: ${detail}`);

test('a PC keeps its data through power cuts, reimages, versions, a restore and a full store', async () => {
  await using lab = await startLab('overlays');
  const { first, second } = await useTwoVersions(lab);
  const command = async (...args: string[]): Promise<string> => {
    const { code, stdout, stderr } = await cardless(['--state', lab.state, ...args]);
    expect(`${code} ${stderr.replaceAll(/^(\[|.*: done in).*$/gm, '').trim()}`).toBe('0 ');
    return stdout;
  };
  // A small store of its own, where the server alone sees it.
  const inServer = (...args: string[]): Promise<string> => run('nsenter', ['-t', String(lab.server.pid), '-m', ...args]);
  const store = join(lab.state, 'overlays');
  await inServer('mount', '-t', 'tmpfs', '-o', 'size=1200m,mode=0700', 'store', store);
  await command('node', 'add', 'pc1', '--serial', pcSerial, '--data', '128M');
  const signal = new AbortController().signal;
  const ssh = (line: string): Promise<string> => lab.server.ssh('pc1', line, signal);
  await using pc = virtualPc(lab);
  await pc.powerOn();
  const boot1 = await ready(lab.server, 'pc1', pc);
  expect(newsOf(boot1)).toEqual(
    expect.arrayContaining([
      `overlay made: ${first}`,
      'overlay checked: clean',
      'data volume made: 134217728 bytes',
      'data volume mounted: /data',
    ]),
  );
  expect(
    await ssh(
      'findmnt -nro SOURCE,FSTYPE /data; for name in docker containerd rancher kubelet etcd; do findmnt -nro SOURCE /var/lib/$name; done',
    ),
  ).toBe(
    ['/dev/nbd2 ext4', ...['docker', 'containerd', 'rancher', 'kubelet', 'etcd'].map((name) => `/dev/nbd2[/var/lib/${name}]`)].join('\n'),
  );
  await ssh('echo precious >/data/keep; echo layer >/var/lib/docker/layer; sync; echo one >/root/note');
  // What is still in the node's memory is in the snapshot: its agent writes it out.
  expect(await command('overlay', 'snapshot', 'pc1', '--as', 'good')).toMatch(
    /^pc1: kept as good; the node held its disk still for [\d.]+ s$/,
  );
  await ssh('echo two >/root/note; sync');

  // Writes that the store has no room for wait, and nothing breaks.
  const free = Number(await inServer('stat', '-f', '-c', '%a', store)) * 4096;
  await inServer('fallocate', '-l', String(free - 290 * 2 ** 20), join(store, 'ballast'));
  let isDone = false;
  const writing = ssh('dd if=/dev/zero of=/root/big bs=1M count=90 conv=fsync 2>&1 | tail -1').finally(() => {
    isDone = true;
  });
  await until(async () => (await serverLog(lab.server)).includes('the store is full'), 'the store to be full', 120_000);
  await new Promise((resolve) => setTimeout(resolve, 10_000));
  expect(isDone).toBe(false);
  expect(await command('overlay', 'list')).toContain('WARNING: full, nodes with a disk here wait until there is space');
  await inServer('rm', join(store, 'ballast'));
  expect(await writing).toContain('94371840 bytes');
  expect(await ssh('cat /root/note; rm /root/big; dmesg')).not.toMatch(/I\/O error|Aborting journal|EXT4-fs error|Remounting/);

  // The agent tells of a disk that is nearly full.
  await ssh('fallocate -l $(( $(df -B1 --output=avail /data | tail -1) * 96 / 100 )) /data/big');
  await until(
    async () => newsOf(await lab.server.node('pc1')).some((line) => /^data volume nearly full: 9\d %$/.test(line)),
    'the report',
    120_000,
  );
  await ssh('rm /data/big; sync');

  // A restore waits for the next boot, which here is one after a power cut.
  expect(await command('overlay', 'restore', 'pc1', 'good')).toBe('pc1 goes back to good at its next boot');
  expect(await ssh('cat /root/note')).toBe('two');
  await pc.powerOff();
  await pc.powerOn();
  const boot2 = await ready(lab.server, 'pc1', pc, boot1.boot?.id);
  expect(newsOf(boot2)).toEqual(
    expect.arrayContaining([
      'overlay restored: good',
      'overlay checked: clean',
      expect.stringMatching(/^data volume checked: journal replayed/),
    ]),
  );
  expect(await ssh('cat /root/note /data/keep /var/lib/docker/layer')).toBe('one\nprecious\nlayer');

  // Another version starts with a fresh overlay, with what was carried over, and with the data volume.
  await ssh('echo here >/root/only-first; sync');
  await command('node', 'set', 'pc1', '--image', 'debian-next', '--carry', '/root/note');
  await command('reimage', 'pc1');
  await pc.powerOff();
  await pc.powerOn();
  const boot3 = await ready(lab.server, 'pc1', pc, boot2.boot?.id);
  expect(newsOf(boot3)).toEqual(expect.arrayContaining([`overlay made: ${second}`, `carried over: /root/note from ${first}`]));
  expect(await ssh('cat /root/note /data/keep; ls /root/only-first 2>&1 || true')).toMatch(/^one\nprecious\nls: cannot access/);

  // Back to the first version, and to its overlay as it was left; what the power cut did to it was repaired when it was carried from.
  await command('node', 'set', 'pc1', '--image', 'debian-13');
  await pc.powerOff();
  await pc.powerOn();
  const boot4 = await ready(lab.server, 'pc1', pc, boot3.boot?.id);
  expect(newsOf(boot4)).toEqual(
    expect.arrayContaining(['overlay checked: clean', expect.stringMatching(/^data volume checked: journal replayed/)]),
  );
  expect(await ssh('cat /root/only-first /data/keep')).toBe('here\nprecious');
  expect(await command('overlay', 'show', 'pc1')).toMatch(new RegExp(`debian-13 ${first}[^]*good: [^]*debian-next ${second}`));
  await pc.powerOff();
  await rm(join(lab.state, 'images'), { recursive: true });
});
