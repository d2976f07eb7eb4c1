import { expect, test } from 'vitest';
import { type CommitView, commitText } from '#src/cli/image/commit-image.ts';

const view: CommitView = {
  node: 'red5',
  name: 'debian-13',
  parent: 'a'.repeat(64),
  parentName: 'debian-13',
  arch: 'amd64',
  snapshot: { kind: 'frozen', frozenMs: 1234 },
  counts: { added: 3, changed: 2, removed: 1 },
  changes: [
    { path: '/etc/motd', change: 'changed', type: 'file', what: ['content', 'mode'], bytes: 20 },
    { path: '/opt/app', change: 'added', type: 'directory', what: [] },
    { path: '/opt/app/a', change: 'added', type: 'file', what: [], bytes: 1500 },
    { path: '/opt/app/b', change: 'added', type: 'file', what: [], bytes: 1500 },
    { path: '/usr/share/doc', change: 'removed', type: 'directory', what: [], below: 12 },
    { path: '/usr/share/x', change: 'changed', type: 'file', before: 'directory', what: ['type'], bytes: 1 },
  ],
  leftOut: [
    { path: '/var/log/a', change: 'added', type: 'file', what: [], reason: 'logs' },
    { path: '/var/log/b', change: 'added', type: 'file', what: [], reason: 'logs' },
  ],
  isCut: false,
  notes: ['boots the kernel 6.9'],
};

test('the changes, what is left out and why, what to know, and that nothing was published', () => {
  expect(commitText(view).split('\n')).toEqual([
    '* /etc/motd  (content, mode; 20 B)',
    '+ /opt/app/  (2 below; 3.0 kB)',
    '- /usr/share/doc/  (12 below)',
    '* /usr/share/x  (directory -> file; 1 B)',
    '',
    'Left out:',
    '  /var/log/a and 1 more: logs',
    '',
    '3 added, 2 changed, 1 removed; the node held its disk still for 1.2 s',
    'Note: boots the kernel 6.9',
    'A dry run: nothing was published.',
  ]);
});

test('what was published, who boots it, and how to go back', () => {
  const published = commitText({ ...view, digest: 'b'.repeat(64), snapshot: { kind: 'crash-consistent', reason: 'no agent' } });
  expect(published).toContain('the disk is as after a power cut (no agent)');
  expect(published).toContain(`debian-13:${'b'.repeat(12)} was published; its parent is debian-13:${'a'.repeat(12)}`);
  expect(published).toContain('so does red5');
  expect(published).toContain(`cardless node set red5 --image debian-13:${'a'.repeat(12)}`);
  expect(commitText({ ...view, digest: 'b'.repeat(64), name: 'other' })).not.toContain('so does red5');
  expect(commitText({ ...view, counts: { added: 0, changed: 0, removed: 0 }, changes: [] })).toContain('Nothing was changed on red5.');
});
