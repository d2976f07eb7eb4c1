import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { projectRoot } from '#src/config/places.ts';
import { run } from '#src/process/run.ts';
import { nodeRoot } from '../support/node-root.ts';

/** The lines of init that put the seed in place, with what they tell the server written to a file. */
function seedLines(): string {
  const init = readFileSync(join(projectRoot, 'rootfs/initramfs/init'), 'utf8');
  const [lines] = /^cp \/bin\/busybox \/run\/cardless\/busybox\n[\s\S]*?^done <\/run\/cardless\/applied\n/m.exec(init) ?? [];
  if (lines === undefined) {
    throw new Error('init has no such lines');
  }
  return ['fail() { echo "failed: $1"; exit 1; }', 'say() { :; }', 'tell() { echo "$1 $2" >>/told; }', lines].join('\n');
}

test('the initramfs puts the seed in place inside the new root, whose own programs it does not need', async () => {
  using node = await nodeRoot();
  using outer = await nodeRoot({});
  await node.boot({ files: [{ path: '/etc/motd', content: 'ours' }] });
  await node.unpackSeed({ users: [{ name: 'ann', groups: ['docker'] }], files: [{ path: '/etc/x', content: 'x', owner: 'ann' }] });
  for (const directory of ['bin', 'new', 'dev', 'proc', 'run/cardless']) {
    mkdirSync(outer.at(directory), { recursive: true });
  }
  await run('cp', [outer.at('run/cardless/busybox'), outer.at('bin/busybox')]);
  for (const name of ['sh', 'cp', 'chroot', 'mount', 'umount', 'cat']) {
    symlinkSync('busybox', outer.at(`bin/${name}`));
  }
  writeFileSync(outer.at('lines'), `PATH=/bin\n${seedLines()}cat /proc/mounts >/mounts\n`);
  const script =
    'mount --bind "$1" "$2/new" && mount -t proc proc "$2/proc" && mount -t tmpfs run "$2/run" && mkdir -p "$2/run/cardless/disks/root" && mount --bind "$1/run/cardless/disks/root" "$2/run/cardless/disks/root" && exec chroot "$2" /bin/sh /lines';
  await run('unshare', ['--mount', 'sh', '-c', script, 'sh', node.root, outer.root]);
  expect(outer.read('told')).toBe('setting there is no group docker for the user ann\n');
  expect([node.read('etc/x'), node.stat('etc/x'), node.stat('home/ann')]).toEqual(['x', '644 1001:1001', '700 1001:1001']);
  expect(node.read('etc/motd')).toBe('of the image\n');
  expect(node.exists('usr/lib/cardless/stage')).toBe(false);
  expect(outer.read('mounts')).not.toMatch(/\/new\/(dev|proc|run)/);
});
