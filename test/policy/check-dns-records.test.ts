import { expect, test } from 'vitest';
import type { DnsRecord } from '#src/domain/fleet.ts';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { checkDnsRecords } from '#src/policy/check-dns-records.ts';
import { nodeRecord } from '../support/nodes.ts';

const a = (name: string): DnsRecord => ({ name, type: 'A', address: parseIpv4('10.77.0.9') });
const alias = (name: string): DnsRecord => ({ name, type: 'CNAME', target: 'red5' });

test('aliases that are something else as well are refused, all of them at once, each with its place', () => {
  const records = [
    a('www'),
    alias('www'),
    alias('red5'),
    a('red5'),
    alias('good'),
    a('two'),
    a('two'),
    alias('twice'),
    alias('twice'),
    alias('red5.cluster.internal'),
  ];
  expect(checkDnsRecords(records, [nodeRecord('red5')], 'cluster.internal')).toEqual([
    { path: ['dns', 'records', 1], message: 'www is an alias, so it cannot have another record (A) as well' },
    { path: ['dns', 'records', 2], message: 'red5 is a node, so it cannot be an alias as well' },
    { path: ['dns', 'records', 7], message: 'twice is an alias, so it cannot have another record (CNAME) as well' },
    { path: ['dns', 'records', 8], message: 'twice is an alias, so it cannot have another record (CNAME) as well' },
    { path: ['dns', 'records', 9], message: 'red5 is a node, so it cannot be an alias as well' },
  ]);
});
