import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { fleetOfCsv } from '#src/cli/node/import-nodes.ts';
import { exportFormatNames, parseExportFormat } from '#src/domain/export-format.ts';
import { renderers } from '#src/policy/exports/renderers.ts';
import { exportFacts, exportRecord } from '../../support/export-facts.ts';

const facts = exportFacts();

test('hosts: the full name first, and a remark about nodes without an address', () => {
  expect(renderers.hosts.render(facts).split('\n')).toEqual([
    '# Written by Cardless. Changes are lost.',
    '# blue9 has no address yet',
    '10.77.0.101 pc1.cluster.internal pc1',
    '10.77.0.5 red5.cluster.internal red5',
    '10.77.0.6 red6.cluster.internal red6',
    '10.77.0.7 red7.cluster.internal red7',
    '',
  ]);
});

test('slurm: ranges of alike nodes, partitions of groups', () => {
  expect(renderers.slurm.render(facts).split('\n').slice(1, -1)).toEqual([
    'NodeName=blue9 State=UNKNOWN',
    'NodeName=pc1 CPUs=16 RealMemory=31822 State=UNKNOWN',
    'NodeName=red[5-7] CPUs=4 RealMemory=3792 State=UNKNOWN',
    'PartitionName=all Nodes=blue9,pc1,red[5-7] Default=YES MaxTime=INFINITE State=UP',
    'PartitionName=lab Nodes=pc1,red[5-7] MaxTime=INFINITE State=UP',
    'PartitionName=pi-workers Nodes=red[5-7] MaxTime=INFINITE State=UP',
  ]);
});

test('slots: what a node told, else what its model has, else nothing', () => {
  const nodes = [
    exportRecord('a', { model: 'Raspberry Pi 5' }),
    exportRecord('b'),
    exportRecord('c', { hardware: { cores: 3, memoryMiB: 1 } }),
  ];
  expect(renderers.mpi.render(exportFacts({ nodes })).split('\n').slice(1)).toEqual(['a slots=4', 'b', 'c slots=3', '']);
});

test('known hosts: the authority stands for nodes alone, and each known key for its node', () => {
  const [, ca = '', first = ''] = renderers['known-hosts'].render(facts).split('\n');
  expect(ca).toMatch(/^@cert-authority \*\.cluster\.internal,blue9,blue9\.cluster\.internal,pc1,.*,10\.77\.0\.7 ssh-ed25519 /);
  expect(first).toMatch(/^red5,red5\.cluster\.internal,10\.77\.0\.5 ssh-ed25519 /);
  const { hostCa: _hostCa, ...without } = facts;
  expect(renderers['known-hosts'].render(without)).not.toContain('@cert-authority');
});

test('salt: a roster of salt-ssh, whose hosts are found by key', () => {
  const roster = parse(renderers.salt.render(exportFacts({ jump: 'me@server', user: 'pi' })));
  expect(Object.keys(roster)).toEqual(['blue9', 'pc1', 'red5', 'red6', 'red7']);
  expect(roster.red5).toEqual({
    host: '10.77.0.5',
    user: 'pi',
    ssh_options: ['HostKeyAlias=red5', 'ProxyJump=me@server'],
    minion_opts: { grains: { cardless_groups: ['pi-workers', 'lab'], cardless_labels: { rack: 'a', 'odd/name': 'two words, and 5%' } } },
  });
  expect(roster.blue9.host).toBe('blue9');
});

test('prometheus: an entry for each address, labels with names that it takes', () => {
  const targets = JSON.parse(renderers.prometheus.render(exportFacts({ metricsPort: 9200 })));
  expect(targets).toHaveLength(4);
  expect(targets[1]).toEqual({
    targets: ['10.77.0.5:9200'],
    labels: {
      node: 'red5',
      group: 'pi-workers',
      model: 'Raspberry Pi 4B',
      arch: 'arm64',
      image: 'debian-13',
      label_rack: 'a',
      label_odd_name: 'two words, and 5%',
    },
  });
});

test('ansible: groups have names that it takes, their own nodes, and their children', () => {
  const { all, ...groups } = parse(renderers.ansible.render(facts));
  expect(all.children).toEqual({ lab: null });
  expect(groups).toEqual({
    lab: { hosts: { pc1: null }, children: { pi_workers: null } },
    pi_workers: { hosts: { red5: null, red6: null, red7: null } },
  });
  expect(all.hosts.red5).toMatchObject({
    ansible_host: '10.77.0.5',
    ansible_user: 'root',
    cardless_labels: { rack: 'a' },
    cardless_cores: 4,
  });
  expect(all.hosts.blue9.ansible_host).toBeUndefined();
});

test('ansible: groups whose names become the same, or another meaning, stay apart', () => {
  const nodes = ['a-b', 'a_b', 'ungrouped', 'n0', '1st'].map((group, index) => exportRecord(`n${index}`, { groups: [group] }));
  const { all, ...groups } = parse(renderers.ansible.render(exportFacts({ nodes })));
  expect(Object.keys(all.children).toSorted()).toEqual(Object.keys(groups));
  expect(Object.entries(groups).map(([name, group]) => [name, Object.keys((group as { hosts: object }).hosts)])).toEqual([
    ['_1st', ['n4']],
    ['a_b', ['n0']],
    ['a_b_', ['n1']],
    ['n0_', ['n3']],
    ['ungrouped_', ['n2']],
  ]);
});

test('csv: any label comes back as it was, and so does all else', () => {
  const text = fc
    .string({ unit: 'grapheme', maxLength: 12 })
    .filter((value) => value.trim() === value && value !== '' && !value.includes('\r'));
  fc.assert(
    fc.property(fc.array(text, { minLength: 1, maxLength: 4 }), (values) => {
      const labels = Object.fromEntries(values.map((value, index) => [`l${index}`, value]));
      const registered = { serial: '91cdf03d', ip: '10.0.0.5', group: 'lab', dataVolume: '8G', labels };
      const nodes = [exportRecord('red5', { registered, labels }), exportRecord('red6')];
      const document = parse(fleetOfCsv('list.csv', renderers.csv.render(exportFacts({ nodes }))));
      expect(document.nodes).toEqual({ red5: registered, red6: {} });
    }),
  );
});

test.each(exportFormatNames.map((name) => [name] as const))('%s: an empty fleet is an export as well', (name) => {
  expect(() => renderers[name].render(exportFacts({ nodes: [] }))).not.toThrow();
  expect(renderers[name].render(exportFacts({ nodes: [] }))).toMatch(/\n$/);
});

test('formats are found by either way to write them, and the nearest one is suggested', () => {
  expect(parseExportFormat('ssh_config')).toBe('ssh-config');
  expect(() => parseExportFormat('ansibel')).toThrow('did you mean ansible?');
});
