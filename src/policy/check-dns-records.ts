/** What no name server could answer with (RFC 1034 section 3.6.2: besides an alias a name has nothing). */
import type { DnsRecord, FleetNode, FleetProblem } from '../domain/fleet.ts';
import { relativeName } from './dns-zone.ts';

/** @param domain names may be written with it and without */
export function checkDnsRecords(records: readonly DnsRecord[], nodes: readonly FleetNode[], domain: string): FleetProblem[] {
  const names: ReadonlySet<string> = new Set(nodes.map(({ name }) => name));
  return records.flatMap(({ name: written, type }, index): FleetProblem[] => {
    const name = relativeName(written, domain);
    const path = ['dns', 'records', index];
    if (type !== 'CNAME') {
      return [];
    }
    if (names.has(name)) {
      return [{ path, message: `${name} is a node, so it cannot be an alias as well` }];
    }
    const other = records.find((record, at) => at !== index && relativeName(record.name, domain) === name);
    return other === undefined ? [] : [{ path, message: `${name} is an alias, so it cannot have another record (${other.type}) as well` }];
  });
}
