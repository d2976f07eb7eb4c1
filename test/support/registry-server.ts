/** A server that serves no network: the registry, images and jobs. */
import { mkdtemp } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type AdminClient, adminClient, untilAnswers } from '#src/cli/admin-client.ts';
import { findPlaces, projectRoot } from '#src/config/places.ts';
import { type Child, startChild } from '#src/process/supervise.ts';

export class RegistryServer implements AsyncDisposable {
  readonly state: string;
  readonly client: AdminClient;
  #child: Child | undefined;

  constructor(state: string) {
    this.state = state;
    this.client = adminClient(findPlaces({ state, env: {} }).adminSocket);
  }

  static async start(): Promise<RegistryServer> {
    const server = new RegistryServer(await mkdtemp(join(tmpdir(), 'cardless-test-')));
    await server.start();
    return server;
  }

  async start(): Promise<void> {
    const said: string[] = [];
    const args = [join(projectRoot, 'src/main.ts'), '--state', this.state, 'up', '--no-network'];
    // A cache of its own: the lists of what is in images are kept there.
    const env = { CARDLESS_CACHE: join(this.state, 'cache') };
    this.#child = startChild(process.execPath, args, { graceMs: 10_000, env, onLine: (line) => said.push(line) });
    await untilAnswers(this.client, this.#child, said);
  }

  /** kill -9, as a crash would. */
  async crash(): Promise<void> {
    if (this.#child?.pid !== undefined) {
      process.kill(this.#child.pid, 'SIGKILL');
      await this.#child.ended;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#child?.stop();
  }
}
