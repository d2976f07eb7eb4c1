import { sendUnixDatagram } from './libc.ts';

/** Tells systemd how far we are (sd_notify(3)). Does nothing when not started by it. */
export function sdNotify(state: 'READY=1' | 'STOPPING=1', socketPath: string | undefined): void {
  if (socketPath) {
    sendUnixDatagram(socketPath, state);
  }
}
