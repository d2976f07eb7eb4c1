import { globSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { projectRoot } from '#src/config/places.ts';

const folder = join(projectRoot, 'rootfs/agent');

/** Uses of the key other than in the environment of one wget. */
function misuses(script: string): string[] {
  return script
    .replaceAll('\\\n', '')
    .split('\n')
    .map((line) => line.replaceAll(/(?<![^\s;])http_proxy=\$AGENT_PROXY \$busybox wget(?= )/g, 'FETCH'))
    .filter((line) => /AGENT_PROXY|AGENT_KEY|Authorization|\bwget\b|export.*proxy/i.test(line));
}

test('no script of the agent puts its key into arguments, or asks without it', () => {
  const scripts = globSync('*', { cwd: folder }).map((name) => [name, readFileSync(join(folder, name), 'utf8')] as const);
  expect(scripts.filter(([, text]) => text.includes('http_proxy=$AGENT_PROXY')).map(([name]) => name)).toEqual(
    expect.arrayContaining(['agent', 'freezer', 'run-hooks', 'vitals']),
  );
  expect(scripts.flatMap(([name, text]) => misuses(text).map((line) => `${name}: ${line}`))).toEqual([]);
});

test.each([
  ['$busybox wget --header "Authorization: Bearer x" http://a/'],
  ['$busybox wget \\\n  "$AGENT_PROXY/v1/ready"'],
  ['http_proxy=$AGENT_PROXY $busybox wget --user "$AGENT_PROXY" http://a/'],
  ['export http_proxy=$AGENT_PROXY'],
])('%s would be found', (script) => {
  expect(misuses(script)).toHaveLength(1);
});
