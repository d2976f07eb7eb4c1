/** What the server keeps for nodes and for the cluster, below its folder of keys. */
import { join } from 'node:path';
import type { Clock } from '../domain/clock.ts';
import type { NodeStore } from '../store/nodes.ts';
import { HostKeys } from './identity.ts';
import { NodeSecrets } from './secrets.ts';
import { SshCa } from './ssh-ca.ts';

export interface KeptKeys {
  readonly hostKeys: HostKeys;
  readonly sshCa: SshCa;
  readonly secrets: NodeSecrets;
}

/** The directories of nodes have their names, in which no underscore can be. */
export async function openKeys(directory: string, nodes: NodeStore, clock: Clock): Promise<KeptKeys> {
  const hostKeys = new HostKeys(directory);
  await hostKeys.keepMachineIds(nodes.list());
  const secrets = new NodeSecrets(join(directory, '_secrets'), clock);
  await secrets.start();
  return { hostKeys, sshCa: new SshCa(join(directory, '_ca')), secrets };
}
