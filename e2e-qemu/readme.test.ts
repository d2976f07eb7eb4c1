import { chmod, mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { expect, test } from 'vitest';
import { findPlaces, projectRoot } from '#src/config/places.ts';
import { parseIpv4, parseSubnet } from '#src/domain/ipv4.ts';
import { parseMac } from '#src/domain/mac.ts';
import { type Child, startChild } from '#src/process/supervise.ts';
import { insideNamespace, Lab } from '#src/sim/lab.ts';
import { cardless, ran, until } from '../test/support/lab-server.ts';

/** The commands of README.md whose fence says `sh test`, in order. */
async function publishedCommands(): Promise<string[]> {
  const readme = await readFile(join(projectRoot, 'README.md'), 'utf8');
  return [...readme.matchAll(/^```sh test\n([\s\S]*?)^```$/gm)].flatMap(([, block = '']) =>
    block.split('\n').filter((line) => line !== ''),
  );
}

test('the commands of the README work as they are written', async () => {
  const commands = await publishedCommands();
  expect(commands.length).toBeGreaterThan(10);
  const home = await mkdtemp(join(tmpdir(), 'cardless-readme-'));
  const state = join(home, 'state');
  const shim = async (name: string, text: string): Promise<void> => {
    await writeFile(join(home, name), `#!/bin/sh\n${text}\n`);
    await chmod(join(home, name), 0o755);
  };
  await shim('cardless', `exec ${process.execPath} ${join(projectRoot, 'src/main.ts')} --state ${state} "$@"`);
  await shim('sudo', 'exec "$@"');
  await mkdir(join(home, '.ssh'));
  await execa('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(home, '.ssh/id_ed25519')]);
  const env = { HOME: home, PATH: `${home}:${process.env['PATH'] ?? ''}`, CARDLESS_CACHE: findPlaces({ env: process.env }).cache };

  await using lab = await Lab.create({ name: 'readme', address: parseIpv4('192.168.50.254'), subnet: parseSubnet('192.168.50.0/24') });
  const namespace = await lab.addBoard(parseMac('52:54:00:00:00:01'));
  await ran(...insideNamespace(namespace, 'ip', ['address', 'add', '192.168.50.1/24', 'dev', 'eth0']));
  let server: Child | undefined;
  const said: string[] = [];
  try {
    for (const command of commands) {
      if (/\bcardless up\b/.test(command)) {
        await server?.stop();
        server = startChild(...insideNamespace(namespace, 'sh', ['-c', command]), {
          graceMs: 20_000,
          cwd: home,
          env,
          onLine: (line) => said.push(line),
        });
        // Asked earlier, the command line would start a server of its own, and this one would be the second.
        const isReady = async (): Promise<boolean> =>
          said.join('\n').includes('"msg":"ready"') && (await cardless(['--state', state, 'node', 'list'])).code === 0;
        await until(isReady, command, 120_000);
        said.length = 0;
      } else {
        const result = await execa('sh', ['-c', command], { cwd: home, env, reject: false, stdin: 'ignore' });
        expect(`${command}: ${result.exitCode} ${result.exitCode === 0 ? '' : result.stderr}`).toBe(`${command}: 0 `);
      }
    }
  } finally {
    await server?.stop();
  }
});
