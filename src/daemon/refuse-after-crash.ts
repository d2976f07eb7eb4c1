import type { Logger } from '../log/logger.ts';
import type { DataVolumes } from '../overlays/data-volumes.ts';
import { machineBootId } from '../process/boot-id.ts';
import type { NodeStore } from '../store/nodes.ts';
import type { BootSessions } from './boot-sessions.ts';
import type { Exports } from './exports.ts';

export interface RefuseOptions {
  readonly exports: Exports;
  readonly nodes: NodeStore;
  readonly sessions: BootSessions;
  readonly data: DataVolumes;
  readonly log: Logger;
}

/** Nodes that wrote to a disk while this machine crashed are told to restart, which the timeline of their boot says. */
export async function refuseAfterCrash({ exports, nodes, sessions, data, log }: RefuseOptions): Promise<void> {
  const machineBoot = await machineBootId();
  const withData = await data.nodes();
  const bound = nodes.list().flatMap(({ name, overlay }) => {
    const session = sessions.of(name);
    const writes = overlay === 'persistent' || withData.includes(name);
    return session?.address === undefined ? [] : [{ name, writes, address: session.address, stage: session.stage }];
  });
  const writers = bound.filter(({ writes }) => writes).map(({ address }) => address);
  const refused = await exports.refuseAfterCrash(machineBoot, writers);
  for (const { name, address, stage } of bound.filter((node) => refused.includes(node.address))) {
    const reason = "the server's machine was restarted, so writes may be lost: the node must restart and check its disk";
    sessions.record(name, stage, 'disk refused', reason);
    log.warn({ node: name, address, reason }, 'disk refused');
  }
}
