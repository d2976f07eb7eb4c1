/** What nodes fetch by HTTP. Knows a node by its address and the token of its boot; never reaches the admin side. */
import express, { type ErrorRequestHandler, type Express, type Request, type Response } from 'express';
import { UserError } from '../../domain/errors.ts';
import { type Ipv4, parseIpv4 } from '../../domain/ipv4.ts';
import { type AgentFaceOptions, createAgentFace } from './agent-face.ts';
import { takePosted, tokenOf } from './node-key.ts';
import { createPiBoot, type PiBootOptions } from './pi-boot.ts';
import { createRefreshFace, type RefreshFaceOptions } from './refresh-face.ts';
import { createVitalsFace, type VitalsFaceOptions } from './vitals-face.ts';

export interface NodeFaceOptions {
  readonly ipxeStart: () => string;
  readonly ipxeBoot: (query: { readonly mac: string; readonly uuid: string }, peer: Ipv4) => Promise<string>;
  /** Path of a boot file. @throws UserError not-permitted, not-found */
  readonly bootFile: (token: string, name: string, peer: Ipv4) => Promise<string>;
  /** A boot program, which anybody may have. @throws UserError not-found */
  readonly program: (name: string, peer: Ipv4) => Promise<Buffer>;
  /** For the machine that asks. @throws UserError not-permitted */
  readonly grubConfig: (peer: Ipv4) => Promise<string>;
  readonly plan: (token: string, peer: Ipv4) => Promise<string>;
  /** A gzip'd tar. */
  readonly seed: (token: string, peer: Ipv4) => Promise<Buffer>;
  readonly event: (token: string, peer: Ipv4, name: string, detail: string) => void;
  /** `said` is what the node tells about its hardware. */
  readonly ready: (key: string, peer: Ipv4, said: string) => void;
  readonly agent: AgentFaceOptions;
  readonly refresh: RefreshFaceOptions;
  readonly vitals: VitalsFaceOptions;
  /** How a script of the operator ended. */
  readonly hook: (key: string, peer: Ipv4, kind: string, name: string, code: number) => void;
  /** How full a file system of the node that runs is. */
  readonly space: (key: string, peer: Ipv4, what: string, percent: number) => void;
  readonly piBoot: PiBootOptions;
  /** For everybody, and only what the settings say. @throws UserError not-found */
  readonly export: (format: string) => Promise<{ readonly text: string; readonly mediaType: string }>;
  readonly onFailure: (error: unknown) => void;
}

const statusOf: Partial<Record<UserError['code'], number>> = { 'bad-input': 400, 'not-permitted': 403, 'not-found': 404 };

export function createNodeFace(options: NodeFaceOptions): Express {
  const app = express();
  app.disable('x-powered-by');
  app.use(takePosted);
  app.get('/ipxe/start', (_request, response) => {
    response.type('text/plain').send(options.ipxeStart());
  });
  app.get('/ipxe/boot', async (request, response) => {
    const query = { mac: textOf(request.query['mac']), uuid: textOf(request.query['uuid']) };
    response.type('text/plain').send(await options.ipxeBoot(query, peerOf(request)));
  });
  app.get('/boot/:token/:name', async (request, response) => {
    const file = await options.bootFile(request.params.token, request.params.name, peerOf(request));
    response.sendFile(file, { dotfiles: 'allow', cacheControl: false });
  });
  app.get('/programs/:name', async (request, response) => {
    const bytes = await options.program(request.params.name, peerOf(request));
    sendBytes(request, response, bytes);
  });
  // GRUB that came by HTTP looks beside itself.
  app.get(/^(\/programs)?\/grub\/grub\.cfg$/, async (request, response) => {
    response.type('text/plain').send(await options.grubConfig(peerOf(request)));
  });
  app.get('/v1/plan', async (request, response) => {
    response.type('text/plain').send(await options.plan(tokenOf(request), peerOf(request)));
  });
  app.get('/v1/seed', async (request, response) => {
    response.type('application/gzip').send(await options.seed(tokenOf(request), peerOf(request)));
  });
  const text = express.text({ type: () => true, limit: '4kb' });
  app.post('/v1/events/:name', text, (request, response) => {
    options.event(tokenOf(request), peerOf(request), String(request.params['name']), textOf(request.body));
    response.status(204).end();
  });
  app.post('/v1/ready', text, (request, response) => {
    options.ready(tokenOf(request), peerOf(request), textOf(request.body));
    response.status(204).end();
  });
  const whoAsks = (request: Request): { key: string; peer: Ipv4 } => ({ key: tokenOf(request), peer: peerOf(request) });
  app.use(createAgentFace(options.agent, whoAsks));
  app.use(createRefreshFace(options.refresh, whoAsks));
  app.use(createVitalsFace(options.vitals, whoAsks));
  app.post('/v1/agent/hook/:kind/:name', text, (request, response) => {
    const code = Number(/^\d{1,3}$/.exec(textOf(request.body).trim())?.[0] ?? '255');
    options.hook(tokenOf(request), peerOf(request), String(request.params['kind']), String(request.params['name']), code);
    response.status(204).end();
  });
  app.post('/v1/space/:what', text, (request, response) => {
    const percent = /^(\d{1,3})%?\s*$/.exec(textOf(request.body))?.[1];
    if (percent === undefined) {
      throw new UserError('bad-input', 'A percentage is needed');
    }
    options.space(tokenOf(request), peerOf(request), String(request.params['what']), Number(percent));
    response.status(204).end();
  });
  app.get('/v1/export/:format', async (request, response) => {
    const { text: content, mediaType } = await options.export(request.params.format);
    response.type(mediaType).send(content);
  });
  app.use(createPiBoot(options.piBoot, peerOf));
  app.use((_request, response) => {
    response.status(404).type('text/plain').send('not found\n');
  });
  const onError: ErrorRequestHandler = (error: unknown, _request, response, next) => {
    if (response.headersSent) {
      next(error);
      return;
    }
    if (error instanceof UserError) {
      response
        .status(statusOf[error.code] ?? 503)
        .type('text/plain')
        .send(`${error.message}\n`);
      return;
    }
    // A malformed URL or an over-long body is the client's doing and carries a status of its own.
    const status = error instanceof Error && 'status' in error && typeof error.status === 'number' ? error.status : 500;
    if (status >= 500) {
      options.onFailure(error);
    }
    response.status(status).type('text/plain').send('request failed\n');
  };
  app.use(onError);
  return app;
}

/**
 * HEAD, GET and one range. EDK2 asks HEAD first for the size and takes the kind of file from Content-Type (UEFI 2.10
 * section 24.7.3.1).
 */
function sendBytes(request: Request, response: Response, bytes: Buffer): void {
  response.set({ 'Content-Type': 'application/efi', 'Accept-Ranges': 'bytes' });
  const ranges = request.range(bytes.length);
  if (ranges === -1) {
    response.status(416).set('Content-Range', `bytes */${bytes.length}`).end();
    return;
  }
  // Several ranges at once, or none that we understand: all of it (RFC 9110 section 14.2).
  const range = ranges === undefined || ranges === -2 || ranges.length !== 1 ? undefined : ranges[0];
  const part = range ? bytes.subarray(range.start, range.end + 1) : bytes;
  if (range) {
    response.status(206).set('Content-Range', `bytes ${range.start}-${range.end}/${bytes.length}`);
  }
  response.set('Content-Length', String(part.length));
  response.end(request.method === 'HEAD' ? undefined : part);
}

/** The listener is bound to an IPv4 address, so the peer has one too. */
function peerOf(request: Request): Ipv4 {
  return parseIpv4((request.socket.remoteAddress ?? '').replace(/^::ffff:/, ''));
}

function textOf(value: unknown): string {
  return typeof value === 'string' ? value : '';
}
