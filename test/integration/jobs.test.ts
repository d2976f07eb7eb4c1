import { existsSync } from 'node:fs';
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { projectRoot } from '#src/config/places.ts';
import { cardless, type Ran, until } from '../support/lab-server.ts';
import { RegistryServer } from '../support/registry-server.ts';
import { placeEndlessImage } from '../support/small-images.ts';

interface JobFacts {
  readonly id: string;
  readonly title: string;
  readonly state: string;
  readonly fraction: number;
  readonly secondsLeft?: number;
  readonly error?: { readonly message: string };
}

function command(state: string, ...args: string[]): ReturnType<typeof start> {
  return start([...args, '--state', state]);
}

function start(args: readonly string[]) {
  return execa(process.execPath, [join(projectRoot, 'src/main.ts'), ...args], { reject: false, stdin: 'ignore' });
}

async function started(): Promise<RegistryServer> {
  const server = await RegistryServer.start();
  await placeEndlessImage(server.state, 1000);
  return server;
}

const run = (server: RegistryServer, ...args: string[]): Promise<Ran> => cardless([...args, '--state', server.state]);
const job = async (server: RegistryServer, id: string): Promise<JobFacts> => (await server.client.call('GET', `/jobs/${id}`)) as JobFacts;
const isUnderWay = (server: RegistryServer, id: string): Promise<void> =>
  until(
    async () => (await job(server, id).catch(() => undefined))?.fraction !== undefined && (await job(server, id)).fraction > 0,
    `job ${id}`,
  );

describe('a job', () => {
  test('outlives its client, is watched without being ended, and is cancelled', async () => {
    await using server = await started();
    const client = command(server.state, 'image', 'verify');
    await isUnderWay(server, '1');
    client.kill('SIGKILL');
    await client;
    expect((await job(server, '1')).state).toBe('running');

    const watcher = command(server.state, 'job', 'watch', '1');
    await new Promise((resolve) => watcher.stderr.once('data', resolve));
    watcher.kill('SIGINT');
    expect((await watcher).stderr).toContain('job 1 goes on');
    const listed = await run(server, 'job', 'list');
    expect(listed.stdout).toMatch(/^1 +verify all images +running +0 %, reading image 1 of 1/m);
    expect((await job(server, '1')).state).toBe('running');

    const second = command(server.state, 'job', 'watch', '1', '--json');
    await new Promise((resolve) => second.stderr.once('data', resolve));
    expect((await run(server, 'job', 'cancel', '1')).stdout).toBe('job 1 (verify all images): cancelled');
    const watched = await second;
    expect(watched.exitCode).toBe(1);
    expect(JSON.parse(watched.stdout)).toMatchObject({ id: '1', state: 'cancelled' });
    expect(await run(server, 'job', 'cancel', '1')).toMatchObject({ code: 2, stderr: expect.stringContaining('it is cancelled') });
    expect(await run(server, 'job', 'show', '99')).toMatchObject({ code: 1, stderr: expect.stringContaining('There is no job "99"') });
  });

  test('outlives a client that had started the server for itself, and that server ends after it', async () => {
    const server = new RegistryServer(await mkdtemp(join(tmpdir(), 'cardless-test-')));
    await placeEndlessImage(server.state, 1000);
    const client = command(server.state, 'image', 'verify');
    await isUnderWay(server, '1');
    client.kill('SIGKILL');
    await client;
    expect((await job(server, '1')).state).toBe('running');
    await server.client.call('DELETE', '/jobs/1');
    const isGone = (): Promise<boolean> =>
      server.client.call('GET', '/status').then(
        () => false,
        () => true,
      );
    await until(isGone, 'the server to end');
  });

  test('goes on when another command that had started the server has ended', async () => {
    const server = new RegistryServer(await mkdtemp(join(tmpdir(), 'cardless-test-')));
    await placeEndlessImage(server.state, 1000);
    const first = command(server.state, 'image', 'verify');
    await isUnderWay(server, '1');
    const second = command(server.state, 'image', 'verify');
    await isUnderWay(server, '2');
    await server.client.call('DELETE', '/jobs/1');
    expect((await first).stderr).toContain('cancelled');
    expect((await job(server, '2')).state).toBe('running');
    await server.client.call('DELETE', '/jobs/2');
    expect((await second).stderr).toContain('cancelled');
  });

  test('ends with Ctrl-C where it was started', async () => {
    await using server = await started();
    const client = command(server.state, 'image', 'verify');
    await isUnderWay(server, '1');
    client.kill('SIGINT');
    expect((await client).exitCode).toBe(1);
    expect((await job(server, '1')).state).toBe('cancelled');
  });

  test('runs beside others', async () => {
    await using server = await started();
    for (const id of ['1', '2']) {
      expect(await server.client.call('POST', '/images/verify', {})).toMatchObject({ id, state: 'running' });
    }
    await Promise.all(['1', '2'].map((id) => isUnderWay(server, id)));
    await server.client.call('DELETE', '/jobs/1');
    await until(async () => (await job(server, '1')).state === 'cancelled', 'the first to end');
    expect((await job(server, '2')).state).toBe('running');
  });

  test('that was running when the server was killed has failed, and its number is not given again', async () => {
    await using server = await started();
    await server.client.call('POST', '/images/verify', {});
    const watcher = command(server.state, 'job', 'watch', '1');
    await new Promise((resolve) => watcher.stderr.once('data', resolve));
    await server.crash();
    expect(await watcher).toMatchObject({ exitCode: 1, stderr: expect.stringMatching(/server (is gone|ended)/) });
    await server.start();
    expect(await job(server, '1')).toMatchObject({ state: 'failed', error: { message: 'The server was stopped' } });
    expect((await run(server, 'job', 'watch', '1')).stdout).toContain('The server was stopped');
    expect(await server.client.call('POST', '/images/verify', {})).toMatchObject({ id: '2' });
    expect(existsSync(join(server.state, 'work'))).toBe(false);
  });
});
