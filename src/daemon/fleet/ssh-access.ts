/** Lets the operator in on nodes, for a while. */
import type { Logger } from '../../log/logger.ts';
import type { ExportAdmin } from '../../servers/http/admin/export-routes.ts';
import type { SshAdmin } from '../../servers/http/admin/ssh-routes.ts';
import type { NodeStore } from '../../store/nodes.ts';
import type { SshCa } from '../ssh-ca.ts';
import { type ExportServiceOptions, recordOf } from './export-service.ts';
import { nodesOf } from './select-nodes.ts';

export interface SshAccessOptions extends ExportServiceOptions {
  readonly nodes: NodeStore;
  readonly ca: Pick<SshCa, 'signUser'>;
  readonly exported: ExportAdmin;
  readonly log: Logger;
}

export function createSshAccess(options: SshAccessOptions): SshAdmin {
  const { nodes, ca, exported, log } = options;
  return {
    access: async ({ nodes: names, user, publicKey, seconds }) => {
      const records = await Promise.all(nodesOf(nodes, names).map((node) => recordOf(node, options)));
      const chosen = records.map(({ name }) => name).join(',');
      const [config, knownHosts] = await Promise.all(
        ['ssh-config', 'known-hosts'].map((format) => exported.render(format, { nodes: chosen, user })),
      );
      // sshd takes a certificate for the users that it names.
      const certificate = await ca.signUser(publicKey, [user], seconds);
      log.info({ user, seconds, nodes: records.length }, 'let the operator in on nodes');
      return {
        certificate,
        config: config?.text ?? '',
        knownHosts: knownHosts?.text ?? '',
        nodes: records.map(({ name, address }) => ({ name, ...(address === undefined ? {} : { address }) })),
      };
    },
  };
}
