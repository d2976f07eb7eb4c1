import { expect, test } from 'vitest';
import { fleetSchema } from '#src/config/fleet-document.ts';
import { readFleetFile, sourcesOf } from '#src/config/fleet-file.ts';

const read = (text: string, sources: Record<string, string> = {}) => readFleetFile({ name: 'cluster.yaml', text, sources });

test('an empty file, empty groups and empty nodes', () => {
  expect(read('')).toEqual({});
  expect(read('groups:\n  lab:\nnodes:\n  red5:\n')).toEqual({ groups: { lab: {} }, nodes: { red5: {} } });
});

test('values become what they stand for', () => {
  expect(read('settings: {dataVolume: 8G, overlaySize: 512M, labels: {rack: 1}}').settings).toEqual({
    dataVolume: 8 * 2 ** 30,
    overlaySize: 512 * 2 ** 20,
    labels: { rack: '1' },
  });
  expect(read('settings: {dataVolume: none}').settings?.dataVolume).toBe(0);
});

test('serials, labels and ports that look like numbers stay as they were written', () => {
  const { nodes, settings } = read(
    'settings: {labels: {rack: 007, hot: true}, power: {driver: snmp, host: switch, port: 1.10}}\nnodes:\n  a: {serial: 00012345}\n  b[1-2]: {serial: [1234e567, 0x123456]}\n',
  );
  expect(settings).toMatchObject({ labels: { rack: '007', hot: 'true' }, power: { port: '1.10' } });
  expect(nodes?.['a']?.serial).toBe('00012345');
  expect(nodes?.['b[1-2]']?.serial).toEqual(['1234e567', '0x123456']);
});

test('sources are named once, and their text takes their place', () => {
  const text =
    'groups:\n  a:\n    files: [{path: /etc/x, source: x}]\n    firstBoot: [{name: go, source: go.sh}]\nnodes:\n  b:\n    files: [{path: /etc/y, source: x}]\n';
  expect(sourcesOf('cluster.yaml', text)).toEqual(['x', 'go.sh']);
  const { groups, nodes } = read(text, { x: 'X', 'go.sh': 'echo' });
  expect(groups?.['a']).toMatchObject({ files: [{ path: '/etc/x', content: 'X' }], firstBoot: [{ name: 'go', script: 'echo' }] });
  expect(nodes?.['b']?.files?.[0]).toEqual({ path: '/etc/y', content: 'X' });
});

test('all that is wrong is told at once, each with its line and what was probably meant', () => {
  const text = [
    'settings:',
    '  imge: debian-13',
    'groups:',
    '  workers:',
    '    files:',
    '      - path: etc/motd',
    '        contents: hi',
    'nodes:',
    '  red5:',
    '    overlay: both',
    '    power: {driver: snmp, host: switch}',
  ].join('\n');
  let said = '';
  try {
    read(text);
  } catch (error) {
    said = String(error);
  }
  expect(said).toMatch(/line 2: settings: there is no key "imge"; did you mean "image"\?/);
  expect(said).toMatch(/line 6: groups\.workers\.files\[0\]\.path: "etc\/motd": is not an absolute path/);
  expect(said).toMatch(/line 7: groups\.workers\.files\[0\]: there is no key "contents"; did you mean "content"\?/);
  expect(said).toMatch(/line 10: nodes\.red5\.overlay: "both": /);
  expect(said).toMatch(/line 11: nodes\.red5\.power\.port: is missing/);
  expect(said).toMatch(/wrong in [56] places/);
});

test.each([
  ['a: [', /cluster\.yaml is not valid YAML: .*line 1/s],
  ['nodes: {a: {}, a: {}}', /not valid YAML: Map keys must be unique/],
  ['- a', /the file: \["a"\]: /],
  ['settings: {files: [{path: /a, source: x}]}', /line 1: the source "x" cannot be read as text/],
  ['settings: {files: [{path: /a}]}', /needs one of content, source, and remove: true/],
  ['settings: {files: [{path: /a/../b, content: x}]}', /must not have \.\. in it/],
  ['settings: {kernelArguments: ["init=/bin/sh"]}', /is no kernel argument, or one that the server sets itself/],
  ['settings: {shared: [{name: a, at: /x}, {name: b, at: /x}]}', /has two directories at the same place/],
  ['settings: {authorizedKeys: [hello]}', /"hello" is not a public SSH key/],
])('%s is refused', (text, message) => {
  expect(() => read(text)).toThrow(message);
});

test('aliases that would unfold into thousands of millions of values are refused', () => {
  const lines = ['a: &a [x, x, x, x, x, x, x, x, x]'];
  for (let index = 1; index < 10; index += 1) {
    const [name, before] = [String.fromCharCode(97 + index), String.fromCharCode(96 + index)];
    lines.push(`${name}: &${name} [${Array.from({ length: 9 }, () => `*${before}`).join(', ')}]`);
  }
  expect(() => read(lines.join('\n'))).toThrow(/^cluster\.yaml cannot be read: .*alias/);
});

test('the published schema knows what the file knows', () => {
  expect(JSON.stringify(fleetSchema())).toContain('"dataVolume"');
});
