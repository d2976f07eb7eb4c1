/** For OpenSSH: ssh_config(5), and known_hosts as in sshd(8). */
import { lines } from './hosts.ts';
import { type ExportFacts, type ExportRecord, namesOf } from './record.ts';

/** HostKeyAlias: the key is looked for by the node's name, which is also what its certificate is for. */
export function renderSshConfig({ nodes, domain, user, jump }: ExportFacts): string {
  return lines(
    nodes.flatMap((node) => [
      `Host ${namesOf(node, domain).join(' ')}`,
      ...(node.address === undefined ? [] : [`    HostName ${node.address}`]),
      `    HostKeyAlias ${node.name}`,
      `    User ${user}`,
      ...(jump === undefined ? [] : [`    ProxyJump ${jump}`]),
    ]),
  );
}

/**
 * One line for the cluster's own authority, for its nodes alone and not for the rest of the world, and one for each key that
 * is known without it.
 */
export function renderKnownHosts({ nodes, domain, hostCa }: ExportFacts): string {
  const all = nodes.flatMap((node) => hostPatterns(node, domain));
  return lines([
    ...(hostCa === undefined ? [] : [`@cert-authority ${[`*.${domain}`, ...all].join(',')} ${hostCa}`]),
    ...nodes.flatMap((node) => (node.hostKey === undefined ? [] : [`${hostPatterns(node, domain).join(',')} ${node.hostKey}`])),
  ]);
}

function hostPatterns(node: ExportRecord, domain: string): string[] {
  return [...namesOf(node, domain), ...(node.address === undefined ? [] : [node.address])];
}
