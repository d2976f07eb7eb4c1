import type { Request, Response, Router } from 'express';

/** A proxy or a client must not take a quiet line for a dead one. */
const heartbeatMs = 15_000;
/** What a client that does not read may have waiting; it gets the newest state when it reads again, or is let go. */
const maxWaitingBytes = 2 ** 20;

export interface JobAdmin {
  /** Newest first. */
  readonly list: () => readonly object[];
  readonly get: (id: string) => object;
  readonly cancel: (id: string) => object;
  /** Calls back at every change of a job, until the result is called. @throws UserError unavailable */
  readonly subscribe: (listener: (job: object) => void) => () => void;
}

export function addJobRoutes(api: Router, jobs: JobAdmin): void {
  api.get('/jobs', (_request, response) => void response.json(jobs.list()));
  api.get('/jobs/:id', (request, response) => void response.json(jobs.get(request.params.id)));
  api.delete('/jobs/:id', (request, response) => void response.json(jobs.cancel(request.params.id)));
  api.get('/events', (request, response) => sendEvents(request, response, jobs));
}

/** Server-sent events (HTML Living Standard, 9.2): `event: job`, `data:` the job. The stream begins with what is there. */
function sendEvents(request: Request, response: Response, jobs: JobAdmin): void {
  const send = (job: object): void => {
    if (response.writableLength > maxWaitingBytes) {
      response.destroy();
      return;
    }
    response.write(`event: job\ndata: ${JSON.stringify(job)}\n\n`);
  };
  const unsubscribe = jobs.subscribe(send);
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
  for (const job of jobs.list().toReversed()) {
    send(job);
  }
  const heartbeat = setInterval(() => response.write(': still here\n\n'), heartbeatMs);
  request.on('close', () => {
    clearInterval(heartbeat);
    unsubscribe();
  });
}
