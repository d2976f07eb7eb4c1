/**
 * HTTP boot of a Raspberry Pi (pi-netboot 2.7): it gets `http://HTTP_HOST:HTTP_PORT/HTTP_PATH/boot.sig`, then boot.img.
 * HTTP_PATH is `pi`, or `pi/` with the board's serial or
 * its MAC with dashes, as in TFTP.
 */
import { type Request, Router } from 'express';
import type { Ipv4 } from '../../domain/ipv4.ts';

export interface PiBootOptions {
  /**
   * Path of a file. `isRead` is false for a mere look at its size.
   * @throws UserError not-permitted, not-found
   */
  readonly file: (name: 'boot.img' | 'boot.sig', directory: string | undefined, peer: Ipv4, isRead: boolean) => Promise<string>;
}

/** A slash too many at either end of HTTP_PATH does no harm. */
const pathPattern = /^\/+pi\/+(?:([0-9a-f-]{8,17})\/+)?(boot\.img|boot\.sig)$/i;

export function createPiBoot(options: PiBootOptions, peerOf: (request: Request) => Ipv4): Router {
  const router = Router();
  router.get(pathPattern, async (request, response) => {
    const [, directory, name] = pathPattern.exec(request.path) ?? [];
    const isSignature = name?.toLowerCase() === 'boot.sig';
    const file = await options.file(isSignature ? 'boot.sig' : 'boot.img', directory, peerOf(request), request.method === 'GET');
    const type = isSignature ? 'text/plain' : 'application/octet-stream';
    response.sendFile(file, { dotfiles: 'allow', cacheControl: false, headers: { 'Content-Type': type } });
  });
  return router;
}
