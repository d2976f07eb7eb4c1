import { cp, mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parseImageName } from '#src/domain/image.ts';
import { ImageCatalog } from '#src/images/catalog.ts';
import { publishImage } from '#src/images/publish.ts';
import { pcSerial, realImages, virtualPc } from '../test/support/guests.ts';
import { cardless, startLab, until } from '../test/support/lab-server.ts';

test('a node that cannot mount its root says so on the console and to the server, and starts over', async () => {
  await using lab = await startLab('broken');
  const good = await new ImageCatalog(realImages).newest(parseImageName('debian-13'), 'amd64');
  if (!good) {
    throw new Error('there is no amd64 image');
  }
  const draft = await mkdtemp(join(tmpdir(), 'cardless-draft-'));
  await mkdir(join(draft, 'boot'));
  await cp(join(realImages, good.digest, 'boot'), join(draft, 'boot'), { recursive: true });
  await writeFile(join(draft, 'root.img'), Buffer.alloc(2 ** 20, 'not a file system'));
  const facts = { name: parseImageName('broken'), arch: good.arch, kernelVersion: good.kernelVersion, rootFormat: good.rootFormat };
  await publishImage(draft, facts, join(lab.state, 'images'), new Date());
  await cardless(['--state', lab.state, 'node', 'add', 'pc1', '--serial', pcSerial, '--image', 'broken']);
  await using pc = virtualPc(lab);
  await pc.powerOn();
  const minutes = 3 * 60_000;
  await until(async () => (await lab.server.node('pc1')).state === 'failed', 'the failure to be told', minutes);
  const failed = await lab.server.node('pc1');
  expect(failed.boot?.failure).toMatch(/^root: cannot mount the root \(mount: .*\)/);
  const console = await readFile(pc.consoleFile, 'utf8');
  expect(console).toMatch(/cardless: FAILED at root: cannot mount the root/);
  expect(console).toMatch(/cardless: starting over in 30 seconds/);
  await until(async () => (await lab.server.node('pc1')).boot?.id !== failed.boot?.id, 'the next attempt', minutes);
});
