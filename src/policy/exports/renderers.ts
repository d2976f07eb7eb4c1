/** Every export by its name. */
import type { ExportFormat } from '../../domain/export-format.ts';
import { renderAnsible, renderAnsibleHost, renderAnsibleList } from './ansible.ts';
import { renderCsv, renderJson, renderPrometheus, renderSalt } from './data.ts';
import { renderDnsmasq, renderHosts, renderMpi } from './hosts.ts';
import type { ExportFacts } from './record.ts';
import { renderClusterShell, renderGenders, renderSlurm } from './sets.ts';
import { renderKnownHosts, renderSshConfig } from './ssh.ts';

export interface Renderer {
  readonly mediaType: string;
  readonly render: (facts: ExportFacts) => string;
}

const plain = 'text/plain; charset=utf-8';
const yaml = 'application/yaml';
const json = 'application/json';

export const renderers: Readonly<Record<ExportFormat, Renderer>> = {
  ansible: { mediaType: yaml, render: renderAnsible },
  'ansible-list': { mediaType: json, render: renderAnsibleList },
  'ansible-host': { mediaType: json, render: renderAnsibleHost },
  salt: { mediaType: yaml, render: renderSalt },
  hosts: { mediaType: plain, render: renderHosts },
  'ssh-config': { mediaType: plain, render: renderSshConfig },
  'known-hosts': { mediaType: plain, render: renderKnownHosts },
  genders: { mediaType: plain, render: renderGenders },
  clustershell: { mediaType: yaml, render: renderClusterShell },
  mpi: { mediaType: plain, render: renderMpi },
  slurm: { mediaType: plain, render: renderSlurm },
  prometheus: { mediaType: json, render: renderPrometheus },
  dnsmasq: { mediaType: plain, render: renderDnsmasq },
  csv: { mediaType: 'text/csv; charset=utf-8', render: renderCsv },
  json: { mediaType: json, render: renderJson },
};
