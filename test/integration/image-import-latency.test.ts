/** What boards notice of an import that the server does meanwhile. */
import { randomBytes } from 'node:crypto';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import type { AdminClient } from '#src/cli/admin-client.ts';
import { BenchNetwork } from '#src/cli/bench/bench-network.ts';
import { type DhcpReport, LoadClients } from '#src/cli/bench/load-clients.ts';
import { registerNodes, startOurServer } from '#src/cli/bench/our-server.ts';
import { SimReport } from '#src/cli/sim/sim-report.ts';
import { publishSyntheticImage, syntheticImage } from '#src/cli/sim/synthetic-image.ts';
import { findPlaces, projectRoot } from '#src/config/places.ts';
import { ensureNodePrograms } from '#src/images/node-programs.ts';
import { findModel } from '#src/sim/models.ts';
import { ran, until } from '../support/lab-server.ts';
import { must, piCard, removeScratch, scratch } from '../support/pi-card.ts';

const clients = 64;
const perSecond = 200;
const seconds = 6;
const boards = 12;

afterAll(removeScratch);

/** Text that packs about as well as a system does, in files of usual sizes. */
async function fill(root: string): Promise<void> {
  for (let folder = 0; folder < 40; folder += 1) {
    const directory = join(root, 'usr/share/filler', String(folder));
    await mkdir(directory, { recursive: true });
    const text = randomBytes(60_000).toString('hex');
    await Promise.all(
      Array.from({ length: 100 }, (_, file) => writeFile(join(directory, String(file)), text.slice(file * 1000, file * 1000 + 20_000))),
    );
    await writeFile(join(directory, 'large'), text.repeat(8));
  }
}

interface Imports {
  /** Resolves when the import that is under way has ended. @throws Error when one failed */
  end(): Promise<{ imports: number; phases: ReadonlySet<string> }>;
}

/** One import after the other, so that there is one under way however fast this machine is. */
function keepImporting(client: AdminClient, source: string): Imports {
  let isWanted = true;
  let imports = 0;
  const phases = new Set<string>();
  const running = (async () => {
    while (isWanted) {
      const { id } = (await client.call('POST', '/images/import', { source, name: 'imported' })) as { id: string };
      const hasEnded = async (): Promise<boolean> => {
        const job = (await client.call('GET', `/jobs/${id}`)) as { state: string; phase: string; error?: { message: string } };
        phases.add(job.phase);
        if (job.error) {
          throw new Error(job.error.message);
        }
        return job.state === 'done';
      };
      await until(hasEnded, 'the import to end', 120_000);
      imports += 1;
    }
  })();
  running.catch(() => {});
  return {
    end: async () => {
      isWanted = false;
      await running;
      return { imports, phases };
    },
  };
}

function figures(report: DhcpReport): string {
  const [median, last] = [report.offerP50Us, report.offerP99Us].map((us) => `${(us / 1000).toFixed(2)} ms`);
  return `median ${median}, 99th percentile ${last}, ${report.offered} of ${report.begun} answered`;
}

test('while disk images are imported, every DISCOVER is answered, and no board has to ask twice', { timeout: 400_000 }, async () => {
  const folder = await scratch('latency');
  const card = await piCard(folder, { fill, rootSize: '160M' });
  await must('zstd', '-q', '-1', '--rm', card);
  const state = join(folder, 'state');
  const { signal } = new AbortController();
  // The server has no network to fetch what an initramfs needs.
  await ensureNodePrograms({ cache: findPlaces({ env: process.env }).cache, arch: 'arm64', signal });
  await using network = await BenchNetwork.create();
  const segment = await network.addSegment();
  await using server = await startOurServer(segment, state);
  const load = await LoadClients.build(join(folder, 'load'), network, signal);
  await registerNodes(server.client, clients, signal);
  await publishSyntheticImage({
    images: join(state, 'images'),
    work: join(state, 'synthetic'),
    model: findModel('pi4'),
    bootBytes: 8_000_000,
  });
  await load.dhcp(segment, { clients, limitSeconds: 30 });
  const ask = (): Promise<DhcpReport> => load.dhcp(segment, { clients, rate: perSecond, seconds });

  const idle = await ask();
  const importing = keepImporting(server.client, `${card}.zst`);
  const during = await ask();
  const simulating = ['sim', '--interface', segment.clientInterface, '--register', '--image', syntheticImage, '--model', 'pi4'];
  const args = [join(projectRoot, 'src/main.ts'), '--state', state, '--json', ...simulating, '--count', String(boards)];
  const { stdout, stderr } = await ran(...network.atClients(process.execPath, args));
  const { imports, phases } = await importing.end();
  process.stdout.write(
    `DHCP at ${perSecond} exchanges a second, from DISCOVER to OFFER\n  idle: ${figures(idle)}\n  during imports: ${figures(during)} (${imports} imports)\n`,
  );

  expect(imports).toBeGreaterThan(0);
  expect(phases.size).toBeGreaterThan(2);
  expect({ idle: idle.offered, during: during.offered }).toEqual({ idle: idle.begun, during: during.begun });
  expect(stderr.includes('Error')).toBe(false);
  expect(SimReport.parse(JSON.parse(stdout))).toMatchObject({ ok: true, booted: boards, violations: 0, restarts: 0 });
  const nodes = (await server.client.call('GET', '/nodes')) as { boot?: { events: { what: string; detail: string }[] } }[];
  const asked = nodes.flatMap(({ boot }) => {
    const answers = boot?.events.filter(({ what }) => what === 'dhcp').map(({ detail }) => detail.split(' ')[1]) ?? [];
    return boot?.events.some(({ what }) => what !== 'dhcp') ? [answers.join(' ')] : [];
  });
  expect(asked).toEqual(Array.from({ length: boards }, () => 'offer ack'));
});
