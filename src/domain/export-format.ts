/** Formats of other programs in which the fleet can be had. */
import { UserError } from './errors.ts';
import { nearest } from './nearest.ts';

/** What each is for, and where it is usually kept. */
export const exportFormats = {
  ansible: 'inventory of Ansible, YAML',
  'ansible-list': 'what a dynamic inventory of Ansible answers to --list',
  'ansible-host': 'what it answers to --host, for one node',
  salt: 'roster of salt-ssh, /etc/salt/roster',
  hosts: 'lines for /etc/hosts',
  'ssh-config': 'a file for Include in ~/.ssh/config',
  'known-hosts': "the cluster's host authority and all host keys, for ~/.ssh/known_hosts",
  genders: '/etc/genders, for pdsh -g',
  clustershell: '/etc/clustershell/groups.d/cardless.yaml, for clush and nodeset',
  mpi: 'hostfile of Open MPI, with slots',
  slurm: 'NodeName and PartitionName lines of slurm.conf',
  prometheus: 'targets for http_sd_configs and file_sd_configs',
  dnsmasq: 'dhcp-host and host-record lines',
  csv: 'a list that cardless node import takes',
  json: 'all that is known about each node',
} as const;
export type ExportFormat = keyof typeof exportFormats;

export const exportFormatNames: readonly ExportFormat[] = Object.keys(exportFormats) as ExportFormat[];

/** @throws UserError bad-input */
export function parseExportFormat(input: string): ExportFormat {
  const name = exportFormatNames.find((known) => known === input.replaceAll('_', '-'));
  if (name === undefined) {
    const meant = nearest(input, exportFormatNames);
    throw new UserError('bad-input', `There is no export "${input}"${meant === undefined ? '' : `; did you mean ${meant}?`}`, {
      hint: `One of: ${exportFormatNames.join(', ')}`,
    });
  }
  return name;
}
