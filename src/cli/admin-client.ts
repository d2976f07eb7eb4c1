/** The CLI's way to the server: HTTP on its Unix socket. */
import { request } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { z } from 'zod';
import { projectRoot } from '../config/places.ts';
import { systemCode, UserError, type UserErrorCode } from '../domain/errors.ts';
import { type Child, startChild } from '../process/supervise.ts';
import type { Context } from './context.ts';

const startTimeoutMs = 30_000;

const Refusal = z.object({ error: z.object({ code: z.string(), message: z.string(), hint: z.string().optional() }) });

export interface AdminClient {
  /** @throws UserError as the server threw it; unavailable when there is no server */
  call(method: 'GET' | 'POST' | 'PATCH' | 'DELETE', path: string, body?: object): Promise<unknown>;
  /** An answer that is a text. */
  text(path: string): Promise<string>;
}

export function adminClient(socketPath: string): AdminClient {
  const ask = async (method: string, path: string, body?: object): Promise<string> => {
    const { status, content } = await exchange(socketPath, method, `/api/v1${path}`, body);
    if (status < 400) {
      return content;
    }
    const { error } = Refusal.parse(JSON.parse(content));
    throw new UserError(error.code as UserErrorCode, error.message, error.hint === undefined ? {} : { hint: error.hint });
  };
  return {
    call: async (method, path, body): Promise<unknown> => JSON.parse(await ask(method, path, body)),
    text: (path) => ask('GET', path),
  };
}

async function exchange(
  socketPath: string,
  method: string,
  path: string,
  body: object | undefined,
): Promise<{ status: number; content: string }> {
  const payload = body === undefined ? undefined : JSON.stringify(body);
  return await new Promise((resolve, reject) => {
    const call = request(
      {
        socketPath,
        method,
        path,
        // A connection of its own: one kept from an earlier call may be closed by the server in the very instant.
        agent: false,
        headers: payload === undefined ? {} : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) },
      },
      (response) => {
        text(response).then((content) => resolve({ status: response.statusCode ?? 500, content }), reject);
      },
    );
    call.on('error', (error) => {
      const gone = ['ENOENT', 'ENOTDIR', 'ECONNREFUSED', 'ECONNRESET'].includes(systemCode(error) ?? '');
      const denied = systemCode(error) === 'EACCES';
      reject(
        gone
          ? new UserError('unavailable', 'No Cardless server answers here', {
              cause: error,
              hint: 'Start one: sudo ./cardless up --interface eth0',
            })
          : denied
            ? new UserError('not-permitted', `The server's socket ${socketPath} is for root`, { cause: error, hint: 'Run it with sudo' })
            : error,
      );
    });
    call.end(payload);
  });
}

/**
 * Calls `work` with a client of the server of this state folder. Without a running one, a server that touches no
 * network is started for this command alone, so that the registry can be filled and images built beforehand.
 */
export async function withServer<T>(context: Context, work: (client: AdminClient) => Promise<T>): Promise<T> {
  const client = adminClient(context.places.adminSocket);
  if (await answers(client)) {
    return await work(client);
  }
  const said: string[] = [];
  const args = [join(projectRoot, 'src/main.ts'), '--state', context.places.state, 'up', '--no-network', '--for-client'];
  const server = startChild(process.execPath, args, { graceMs: 30_000, onLine: (line) => said.push(line) });
  try {
    await untilAnswers(client, server, said);
    return await work(client);
  } finally {
    if (await isAtWork(client)) {
      server.release();
    } else {
      await server.stop();
    }
  }
}

/** Another command may have found the server that one had started: its job goes on, and then the server ends by itself. */
async function isAtWork(client: AdminClient): Promise<boolean> {
  const jobs = await client.call('GET', '/jobs').catch(() => []);
  return z
    .array(z.object({ state: z.string() }))
    .parse(jobs)
    .some(({ state }) => state === 'running');
}

/** Resolves when the server that was just started answers. @throws UserError with the last lines that it `said` */
export async function untilAnswers(client: AdminClient, server: Child, said: readonly string[]): Promise<void> {
  let ended = false;
  void server.ended.then(() => {
    ended = true;
  });
  const deadline = Date.now() + startTimeoutMs;
  while (!(await answers(client))) {
    if (ended || Date.now() > deadline) {
      throw new UserError('unavailable', `The server could not be started:\n${said.slice(-20).join('\n')}`);
    }
    await sleep(50);
  }
}

async function answers(client: AdminClient): Promise<boolean> {
  try {
    await client.call('GET', '/status');
    return true;
  } catch (error) {
    if (error instanceof UserError && error.code === 'unavailable') {
      return false;
    }
    throw error;
  }
}
