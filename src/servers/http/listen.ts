import { chmod, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { Express } from 'express';
import type { Ipv4 } from '../../domain/ipv4.ts';

/** Closes at once: open connections are cut. */
export interface HttpListener extends AsyncDisposable {
  readonly server: Server;
}

export async function listenTcp(app: Express, address: Ipv4, port: number): Promise<HttpListener> {
  const server = createServer(app);
  await started(server, () => server.listen(port, address));
  return listenerOf(server);
}

/** A Unix socket for root alone. A file left behind by a server that was killed is replaced; the caller holds the lock. */
export async function listenUnix(app: Express, path: string): Promise<HttpListener> {
  await rm(path, { force: true });
  const server = createServer(app);
  await started(server, () => server.listen(path));
  await chmod(path, 0o600);
  return listenerOf(server);
}

function started(server: Server, listen: () => void): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('listening', resolve);
    server.once('error', reject);
    listen();
  });
}

function listenerOf(server: Server): HttpListener {
  return {
    server,
    [Symbol.asyncDispose]: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
