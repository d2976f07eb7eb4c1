/**
 * Who a node says that it is. The initramfs, where nobody else is, sends its token as Bearer. The agent of a running node must
 * not: a header is among the arguments of busybox wget, which every user of the node may read. From its environment, which
 * only root may read, wget takes no more than `http_proxy=http://agent:KEY@SERVER`, so the agent calls this server its proxy.
 */
import type { IncomingHttpHeaders } from 'node:http';
import type { RequestHandler } from 'express';
import { UserError } from '../../domain/errors.ts';

const bearer = /^Bearer ([0-9a-zA-Z_-]{1,128})$/;
const basic = /^Basic ([0-9a-zA-Z+/]{1,180}={0,2})$/;
const agent = /^agent:([0-9a-zA-Z_-]{1,128})$/;

/** @throws UserError not-permitted */
export function tokenOf({ headers }: { readonly headers: IncomingHttpHeaders }): string {
  const token = bearer.exec(headers.authorization ?? '')?.[1] ?? agentKeyOf(headers['proxy-authorization'] ?? '');
  if (token === undefined) {
    throw new UserError('not-permitted', 'A boot token is needed');
  }
  return token;
}

function agentKeyOf(header: string): string | undefined {
  const userAndKey = Buffer.from(basic.exec(header)?.[1] ?? '', 'base64').toString('latin1');
  return agent.exec(userAndKey)?.[1];
}

/**
 * busybox wget says GET to a proxy whatever it posts (networking/wget.c, 1.37.0); only the length of the body, which may be 0,
 * tells that it posts.
 */
export const takePosted: RequestHandler = (request, _response, next) => {
  const { headers } = request;
  if (request.method === 'GET' && headers['proxy-authorization'] !== undefined && headers['content-length'] !== undefined) {
    request.method = 'POST';
  }
  next();
};
