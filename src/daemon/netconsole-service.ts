/** The logs of Raspberry Pi bootloaders (NETCONSOLE), in the timelines of the boots that they are of. */
import type { Clock } from '../domain/clock.ts';
import { messageOf } from '../domain/errors.ts';
import type { Logger } from '../log/logger.ts';
import { listenToFrames } from '../net/frame-listener.ts';
import { NetconsoleServer } from '../servers/netconsole/netconsole-server.ts';
import type { NodeStore } from '../store/nodes.ts';
import type { BootSessions } from './boot-sessions.ts';

export interface NetconsoleOptions {
  readonly interfaceName: string;
  readonly port: number;
  readonly nodes: NodeStore;
  readonly sessions: BootSessions;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Boots do not depend on it, so that it cannot be heard is no reason not to serve. The result stops it. Port 0: off. */
export function startNetconsole({ interfaceName, port, nodes, sessions, clock, log }: NetconsoleOptions): () => void {
  if (port === 0) {
    return () => {};
  }
  const server = new NetconsoleServer({
    clock,
    onLine: ({ mac, address }, line) => {
      const node = nodes.byMac(mac);
      if (node) {
        sessions.recordConsole(node.name, line);
      } else {
        log.debug({ mac, address, interface: interfaceName, line }, 'netconsole of an unknown board');
      }
    },
  });
  const onError = (error: Error): void => log.warn({ interface: interfaceName, reason: error.message }, 'netconsole socket');
  try {
    const stop = listenToFrames({ interfaceName, port, onMessage: (data, sender) => server.receive(data, sender), onError });
    return () => {
      stop();
      server.close();
    };
  } catch (error) {
    log.warn({ interface: interfaceName, port, reason: messageOf(error) }, 'netconsole cannot be heard');
    return () => {};
  }
}
