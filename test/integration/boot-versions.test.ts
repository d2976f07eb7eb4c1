/** What simulated boards get while versions, tags and jobs come and go. */
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { SimReport } from '#src/cli/sim/sim-report.ts';
import { publishSyntheticImage, syntheticImage } from '#src/cli/sim/synthetic-image.ts';
import { parseMac } from '#src/domain/mac.ts';
import { insideNamespace } from '#src/sim/lab.ts';
import { findModel } from '#src/sim/models.ts';
import { cardless, type Ran, ran, startLab, type TestLab } from '../support/lab-server.ts';
import { placeEndlessImage, publishSmallImage, type SmallImage } from '../support/small-images.ts';

const serial = 'b66c4c16';
const mac = parseMac('b8:27:eb:6c:4c:16');
const stranger = parseMac('02:00:00:00:00:02');

async function simulate(lab: TestLab, port: typeof mac, ...flags: string[]): Promise<SimReport> {
  const namespace = await lab.lab.addBoard(port);
  try {
    const args = ['src/main.ts', '--state', lab.state, '--json', 'sim', '--interface', 'eth0', ...flags];
    const { stdout, stderr } = await ran(...insideNamespace(namespace, process.execPath, args));
    if (!stdout.startsWith('{')) {
      throw new Error(stderr);
    }
    return SimReport.parse(JSON.parse(stdout));
  } finally {
    await lab.lab.removeBoard(namespace);
  }
}

describe('a node and its image', () => {
  test('boots what its reference stands for at that moment, and goes back to an earlier version', async () => {
    await using lab = await startLab('versions');
    const run = (...args: string[]): Promise<Ran> => cardless([...args, '--state', lab.state]);
    const boot = async (): Promise<string | undefined> => {
      expect(await simulate(lab, mac, '--serial', serial)).toMatchObject({ ok: true });
      return (await lab.server.node('red5')).boot?.digest;
    };
    const piFiles = ['bootcode.bin', 'start.elf', 'fixup.dat', 'bcm2710-rpi-3-b-plus.dtb'];
    const version: SmallImage = {
      state: lab.state,
      root: { 'etc/hosts': 'one' },
      boot: Object.fromEntries(piFiles.map((name) => [name, Buffer.alloc(9000, name)])),
      createdAt: new Date(1000),
    };
    const old = await publishSmallImage(version);
    const newest = await publishSmallImage({ ...version, root: { 'etc/hosts': 'two' }, createdAt: new Date(2000) });

    expect((await run('image', 'tag', `debian-13:${old.digest}`, 'stable')).code).toBe(0);
    expect((await run('node', 'add', 'red5', '--serial', serial, '--image', 'debian-13:stable')).code).toBe(0);
    expect(await boot()).toBe(old.digest);

    // The boot under way keeps the version that it began with, and that version stays for it.
    expect((await run('image', 'tag', 'debian-13', 'stable')).code).toBe(0);
    expect((await lab.server.node('red5')).boot?.digest).toBe(old.digest);
    expect(await run('image', 'rm', `debian-13:${old.digest}`)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('red5 runs on it'),
    });
    expect(await boot()).toBe(newest.digest);

    expect((await run('node', 'set', 'red5', '--image', `debian-13:${old.digest.slice(0, 8)}`)).code).toBe(0);
    expect(await boot()).toBe(old.digest);

    // A damaged version takes nobody down who does not boot it.
    const manifest = join(lab.state, 'images', newest.digest, 'manifest.json');
    await writeFile(manifest, (await readFile(manifest, 'utf8')).slice(1));
    expect(await boot()).toBe(old.digest);
  });
});

describe('jobs and boards at the same time', () => {
  test('while images are hashed and compared, every board is answered at its first try', async () => {
    await using lab = await startLab('jobs');
    const count = 12;
    await publishSyntheticImage({
      images: join(lab.state, 'images'),
      work: join(lab.state, 'synthetic'),
      model: findModel('pi4'),
      bootBytes: 8_000_000,
    });
    await placeEndlessImage(lab.state, 1000);
    const { client } = lab.server;
    const start = async (path: string, body: object): Promise<string> => ((await client.call('POST', path, body)) as { id: string }).id;
    const hashing = [await start('/images/verify', { refs: ['endless'] }), await start('/images/verify', {})];
    const many = Object.fromEntries(Array.from({ length: 1000 }, (_, index) => [`usr/share/many/${index}`, `file ${index}`]));
    await publishSmallImage({ state: lab.state, root: many, createdAt: new Date(1000) });
    await publishSmallImage({ state: lab.state, root: { ...many, 'etc/more': 'x' }, createdAt: new Date(2000) });
    const versions = (await client.call('GET', '/images')) as { name: string; digest: string }[];
    const [to = '', from = ''] = versions.filter(({ name }) => name === 'debian-13').map(({ digest }) => `debian-13:${digest}`);
    const comparing = await start('/images/diff', { from, to });

    const report = await simulate(lab, stranger, '--register', '--image', syntheticImage, '--model', 'pi4', '--count', String(count));
    expect(report).toMatchObject({ ok: true, booted: count, violations: 0, restarts: 0 });
    for (const { serial: board } of report.boards) {
      const nodes = (await client.call('GET', '/nodes')) as { serial: string; boot: { events: { what: string; detail: string }[] } }[];
      const dhcp = nodes.find((node) => node.serial === board)?.boot.events.filter(({ what }) => what === 'dhcp');
      expect(dhcp?.map(({ detail }) => detail.split(' ')[1])).toEqual(['offer', 'ack']);
    }
    for (const id of hashing) {
      expect(await client.call('GET', `/jobs/${id}`)).toMatchObject({ state: 'running' });
    }
    const compared = (await client.call('GET', `/jobs/${comparing}`)) as { state: string };
    expect(['running', 'done']).toContain(compared.state);
  });
});
