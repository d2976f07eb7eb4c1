import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { settingsOf } from '#src/config/fleet-document.ts';
import { readFleetFile, sourcesOf } from '#src/config/fleet-file.ts';
import { projectRoot } from '#src/config/places.ts';
import { cloudInitProblems } from '#src/policy/render-cloud-init.ts';
import { pathProblems } from '#src/policy/render-files.ts';
import { accountProblems } from '#src/policy/render-people.ts';
import { operatorKey, testNode } from '../support/nodes.ts';

test('the fleet files of the README are fleet files, and nodes can be given what they say', () => {
  const readme = readFileSync(join(projectRoot, 'README.md'), 'utf8');
  const files = [...readme.matchAll(/^```yaml\n(# cluster\.yaml[\s\S]*?)^```$/gm)].map(([, text = '']) =>
    text.replaceAll(/ssh-ed25519 AAAA\.\.\. \S+?@desk/g, operatorKey),
  );
  expect(files.length).toBeGreaterThan(1);
  for (const text of files) {
    const sources = Object.fromEntries(sourcesOf('cluster.yaml', text).map((name) => [name, 'text']));
    const document = readFleetFile({ name: 'cluster.yaml', text, sources });
    const node = testNode('red5', { own: settingsOf(document.settings ?? {}) });
    expect([...pathProblems(node), ...accountProblems(node), ...cloudInitProblems(node)]).toEqual([]);
  }
});
