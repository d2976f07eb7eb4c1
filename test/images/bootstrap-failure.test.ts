import { expect, test } from 'vitest';
import { parseImageName } from '#src/domain/image.ts';
import { readBootstrapFailure } from '#src/images/bootstrap-failure.ts';
import type { Recipe } from '#src/images/recipe/recipe.ts';

const recipe: Recipe = {
  name: parseImageName('mine'),
  suite: 'trixie',
  architectures: ['amd64'],
  packages: [],
  kernelArguments: [],
  dataVolume: false,
  users: [],
  files: [],
  commands: [],
  services: { enabled: [], disabled: [], masked: [] },
};

interface Row {
  readonly name: string;
  readonly given: readonly string[];
  readonly code: string;
  readonly want: RegExp;
}

const rows: readonly Row[] = [
  {
    name: 'a package that does not exist',
    given: ['Reading package lists...', 'E: Unable to locate package sytemd', 'E: Unable to locate package foo', 'E: apt-get failed'],
    code: 'bad-input',
    want: /Debian trixie has no package "sytemd", "foo" for amd64\n.*packages in the recipe mine/s,
  },
  {
    name: 'a kernel that does not exist',
    given: ['cardless step: command true', 'E: Unable to locate package linux-image-amd64', 'E: setup failed: E: run_chroot failed'],
    code: 'bad-input',
    want: /no package "linux-image-amd64" for amd64\n.*kernel in the recipe mine/s,
  },
  {
    name: 'a package without a candidate',
    given: ["E: Package 'old' has no installation candidate"],
    code: 'bad-input',
    want: /no package "old"/,
  },
  {
    name: 'a command of the recipe',
    given: ['cardless step: file /a', 'cardless step: command make world', 'make: *** No rule', 'I: cleaning up', 'E: run_hooks failed'],
    code: 'failed',
    want: /The recipe's command make world failed: \nmake: \*\*\* No rule\n/,
  },
  {
    name: 'a step that knows its reason',
    given: ['cardless step: user bob', 'cardless reason: there is no group "docker"', 'E: run_hooks failed'],
    code: 'failed',
    want: /The recipe's user bob failed: there is no group "docker"/,
  },
  {
    name: 'a release that the mirror does not have',
    given: ["E: The repository 'http://mirror.example/debian nonsense Release' does not have a Release file."],
    code: 'bad-input',
    want: /no release "trixie"/,
  },
  {
    name: 'a mirror in the middle of an update',
    given: [
      '  File has unexpected size (720 != 1108). Mirror sync in progress? [IP: 192.0.2.1 80]',
      'E: Failed to fetch http://mirror.example/Packages.xz  File has unexpected size (720 != 1108). Mirror sync in progress?',
      'E: Some index files failed to download.',
    ],
    code: 'unavailable',
    want: /contradicts itself: Failed to fetch http:\/\/mirror.example\/Packages.xz {2}File has .*\n.*try again in an hour, or give apt another mirror/,
  },
  {
    name: 'no network',
    given: ["W: Failed to fetch http://mirror.example/x  Temporary failure resolving 'mirror.example'"],
    code: 'unavailable',
    want: /cannot be reached: .*Temporary failure resolving/,
  },
  {
    name: 'no space, whatever else is said',
    given: ['cardless step: command true', 'tar: ./usr: Cannot write: No space left on device', 'E: Unable to locate package x'],
    code: 'no-space',
    want: /No space left on device/,
  },
  {
    name: 'packages that exclude each other',
    given: ['The following packages have unmet dependencies:', ' a : Conflicts: b', 'E: Unable to correct problems'],
    code: 'bad-input',
    want: /cannot be installed together:\n a : Conflicts: b/,
  },
];

test.each(rows)('$name', ({ given, code, want }) => {
  const failure = readBootstrapFailure(given, recipe, 'amd64');
  expect(failure?.code).toBe(code);
  expect(`${failure?.message}\n${failure?.hint}`).toMatch(want);
});

test('what is not known is left to mmdebstrap to say', () => {
  expect(readBootstrapFailure(['E: something new'], recipe, 'amd64')).toBeUndefined();
});
