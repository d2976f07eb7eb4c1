import { mkdir, mkdtemp, readdir, symlink } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect, test } from 'vitest';
import { projectRoot } from '#src/config/places.ts';
import { parseImageName } from '#src/domain/image.ts';
import { DataVolumes } from '#src/overlays/data-volumes.ts';
import { OverlayDisks } from '#src/overlays/overlay-disks.ts';
import { startChild } from '#src/process/supervise.ts';
import { openDatabase } from '#src/store/database.ts';
import { NodeStore } from '#src/store/nodes.ts';
import { diskBytes, onDisk, publishSmallImage, red5 } from '../support/disk-house.ts';
import { cardless, until } from '../support/lab-server.ts';
import { nodeRecord } from '../support/nodes.ts';

test('the merged view of a node is mounted read-only, outlives the server, and is taken down by the next one', {
  timeout: 300_000,
}, async () => {
  const state = await mkdtemp(join(tmpdir(), 'cardless-mount-'));
  const image = await publishSmallImage(join(state, 'images'), 'one');
  const database = openDatabase(join(state, 'state.db'));
  new NodeStore(database).add([nodeRecord(red5, { image: parseImageName('small') })]);
  database.close();
  const disks = new OverlayDisks({ directory: join(state, 'overlays'), bytes: diskBytes });
  await disks.reset(red5, image.digest);
  await onDisk(disks.pathOf(red5, image.digest), 'mkdir etc; echo of the node >etc/motd; mknod etc/version c 0 0; echo new >etc/new');
  // The server mounts it without, or an error in it would be the end of this machine.
  await execa('tune2fs', ['-e', 'panic', disks.pathOf(red5, image.digest)]);

  // The kernel tells mount points without the links that lead to them.
  await mkdir(join(state, 'elsewhere/mounts'), { recursive: true });
  await symlink(join(state, 'elsewhere/mounts'), join(state, 'mounts'));
  await symlink(state, join(state, 'link'));

  await new DataVolumes(join(state, 'data')).ensure(red5, diskBytes);

  // A mount name space of the test's own, which a shell that waits keeps alive.
  const keeper = execa('unshare', ['--mount', 'sh', '-c', 'echo ready; exec sleep 600'], { reject: false });
  await new Promise((resolve) => keeper.stdout.once('data', resolve));
  const inside = (...command: string[]) => execa('nsenter', ['-t', String(keeper.pid), '-m', ...command], { reject: false });
  const startServer = async () => {
    const main = [process.execPath, join(projectRoot, 'src/main.ts'), '--state', state, 'up', '--no-network'];
    const server = startChild('nsenter', ['-t', String(keeper.pid), '-m', ...main], { graceMs: 10_000 });
    await until(async () => (await cardless(['--state', state, 'status'])).code === 0, 'the server');
    return server;
  };
  const run = (...args: string[]) => cardless(['--state', state, 'overlay', ...args]);
  const view = join(state, 'here');
  try {
    const first = await startServer();
    expect((await run('snapshot', 'red5', '--as', 'before')).stdout).toBe('red5: kept as before; the node was not running');
    expect((await run('mount', 'red5', join(state, 'link/here'))).stdout).toBe(`red5 is at ${view}; the node was not running`);
    expect((await inside('sh', '-c', `cat ${view}/etc/motd ${view}/etc/new; ls ${view}/etc`)).stdout).toBe('of the node\nnew\nmotd\nnew');
    expect((await inside('cat', '/proc/mounts')).stdout).toMatch(/\/disk ext4 ro,nosuid,nodev,noexec,\S*errors=continue/);
    expect((await inside('touch', join(view, 'etc/x'))).stderr).toContain('Read-only file system');
    const again = await run('mount', 'red5');
    expect([again.code, again.stderr]).toEqual([1, expect.stringContaining(`red5 is mounted already, at ${view}`)]);
    expect((await run('list')).stdout).toContain(`red5 is mounted at ${view}`);
    expect((await run('rm', 'red5')).stderr).toContain(`cardless overlay unmount red5`);
    process.kill(Number(first.pid), 'SIGKILL');
    await first.ended;

    await using _server = await startServer();
    expect((await inside('cat', join(view, 'etc/motd'))).stdout).toBe('of the node');
    expect((await run('unmount', 'red5')).stdout).toBe(`red5 is no longer at ${view}`);
    expect((await inside('cat', '/proc/self/mountinfo')).stdout).not.toContain(state);
    expect((await execa('losetup', ['--list'])).stdout).not.toContain(state);
    expect(await readdir(join(state, 'mounts'))).toEqual([]);
    expect((await run('unmount', 'red5')).stderr).toContain('red5 is not mounted');

    expect((await run('mount', 'red5', '--snapshot', 'before')).code).toBe(0);
    expect((await inside('cat', join(state, 'views/red5/etc/motd'))).stdout).toBe('of the node');
    expect((await run('unmount', 'red5')).code).toBe(0);
    expect((await run('mount', 'red5', join(state, 'images'))).stderr).toContain('is not an empty directory');
    expect((await run('mount', 'red5', '--snapshot', 'nothing')).stderr).toContain('It has: before');
    expect((await inside('cat', '/proc/self/mountinfo')).stdout).not.toContain(state);
    expect((await run('show', 'red5')).stdout).toMatch(
      /^red5: persistent\n {2}small [0-9a-f]{12}: .* of 268\.4 MB used, .*\n {4}before: .*\ndata volume of red5: .*\nstore: /,
    );

    // Root on the node wrote this disk: a link would make this machine's own files the layer.
    const disk = disks.pathOf(red5, image.digest);
    await onDisk(disk, `cd ..; mv upper kept; ln -s ${join(state, 'images')} upper`);
    const led = await run('mount', 'red5');
    expect([led.code, led.stderr]).toEqual([2, expect.stringContaining('/upper of the overlay is not a folder')]);
    expect((await inside('cat', '/proc/self/mountinfo')).stdout).not.toContain(state);

    expect((await run('rm', 'red5', '--snapshot', 'before')).code).toBe(0);
    expect((await run('rm', 'red5')).code).toBe(0);
    expect((await run('list')).stdout).toMatch(/^No overlays yet/);
    expect((await run('list', 'red9')).code).toBe(1);
    expect((await run('resize', 'red5', 'large')).code).toBe(2);

    // A data volume outlives its node until somebody says otherwise.
    const node = (...args: string[]) => cardless(['--state', state, 'node', ...args]);
    expect((await node('rm', 'red5')).stdout).toContain('kept the data of red5');
    expect((await run('list')).stdout).toMatch(/data volume of red5: .* used; there is no such node any more/);
    expect((await node('rm', 'red5')).code).toBe(1);
    expect((await node('rm', 'red5', '--with-data')).stdout).toBe('removed red5');
    expect((await run('list')).stdout).not.toContain('data volume');
    expect((await node('rm', 'red5', '--with-data')).stderr).toContain('There is no node "red5"');
  } finally {
    keeper.kill('SIGKILL');
    await keeper;
  }
});
