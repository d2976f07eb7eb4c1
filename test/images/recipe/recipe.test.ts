import { chmodSync, mkdirSync, mkdtempSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { projectRoot } from '#src/config/places.ts';
import { UserError } from '#src/domain/errors.ts';
import { customization } from '#src/images/recipe/customize.ts';
import { loadRecipe, shippedRecipes } from '#src/images/recipe/load-recipe.ts';
import { beyondPackages, kernelPackage, type Recipe, recipeKey, wantedPackages } from '#src/images/recipe/recipe.ts';
import { knownKeys } from '#src/images/recipe/schema.ts';

function folder(files: Readonly<Record<string, string>>): string {
  const directory = mkdtempSync(join(tmpdir(), 'cardless-recipe-'));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(directory, name, '..'), { recursive: true });
    writeFileSync(join(directory, name), text);
  }
  return directory;
}

/** A recipe of its own, with these lines beside those that every recipe needs. */
async function loaded(lines: string, others: Readonly<Record<string, string>> = {}): Promise<Recipe> {
  const text = `name: mine\nsuite: trixie\narchitectures: [amd64]\n${lines}\n`;
  return await loadRecipe(join(folder({ 'mine.yaml': text, ...others }), 'mine.yaml'));
}

async function refusal(recipe: Promise<Recipe>): Promise<string> {
  const error: unknown = await recipe.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  if (!(error instanceof UserError)) {
    throw new Error('was not refused', { cause: error });
  }
  return `${error.message}\n${error.hint ?? ''}`;
}

describe('shipped recipes', () => {
  test('all are valid, named after their file, and build the kernel of their architecture', async () => {
    const names = await shippedRecipes();
    expect(names).toEqual(['debian-13', 'debian-docker', 'debian-k3s-ready', 'debian-minimal', 'hpc']);
    for (const name of names) {
      const recipe = await loadRecipe(name);
      expect(recipe).toMatchObject({ name, suite: 'trixie' });
      expect(recipe.packages).toContain('openssh-server');
    }
    const minimal = await loadRecipe('debian-minimal');
    expect(minimal.architectures.map((arch) => kernelPackage(minimal, arch))).toEqual([
      'linux-image-arm64',
      'linux-image-armmp',
      'linux-image-amd64',
    ]);
  });
  test('debian-13 is what its packages make of it, under the key that its cached trees have', async () => {
    const recipe = await loadRecipe('debian-13');
    expect(beyondPackages(recipe)).toBe('');
    expect([recipeKey(recipe, 'amd64', 3), recipeKey(recipe, 'arm64', 3)]).toEqual(['bd941fc751cf0abf', '8d155dcc537912eb']);
  });
  test('containers get the memory controller and a data volume', async () => {
    expect(await loadRecipe('debian-k3s-ready')).toMatchObject({
      kernelArguments: ['cgroup_enable=cpuset', 'cgroup_enable=memory', 'cgroup_memory=1'],
      dataVolume: true,
    });
    expect(await loadRecipe('debian-docker')).toMatchObject({ kernelArguments: ['cgroup_enable=memory'], dataVolume: true });
  });
});

describe('README.md', () => {
  const readme = readFileSync(join(projectRoot, 'README.md'), 'utf8');
  const chapter = readme.slice(readme.indexOf('## Images: recipes'), readme.indexOf('## Settings'));
  const [example = '', ours = ''] = [...chapter.matchAll(/^```yaml\n([\s\S]*?)^```$/gm)].map(([, text = '']) => text);
  test('its example has every key there is, and loads', async () => {
    const document: unknown = parse(example);
    expect(keysOf(document)).toEqual(knownKeys([]).toSorted());
    const inside = (key: string): object[] => (Reflect.get(Object(document), key) as object[]).flat();
    for (const key of ['users', 'files']) {
      expect([...new Set(inside(key).flatMap(keysOf))].toSorted(), key).toEqual(knownKeys([key]).toSorted());
    }
    expect(keysOf(Reflect.get(Object(document), 'services'))).toEqual(knownKeys(['services']).toSorted());
    const directory = folder({ 'worker.yaml': example, 'files/tool': '' });
    expect(await loadRecipe(join(directory, 'worker.yaml'))).toMatchObject({
      name: 'worker',
      packages: expect.arrayContaining(['systemd']),
    });
  });
  test('so does the one that extends hpc', async () => {
    const directory = folder({ 'ours.yaml': ours, 'slurm.conf': '', 'munge.key': '' });
    expect((await loadRecipe(join(directory, 'ours.yaml'))).files.at(-1)).toMatchObject({ owner: 'munge:munge', mode: '0400' });
  });
  test('it names every shipped recipe', async () => {
    for (const name of await shippedRecipes()) {
      expect(chapter).toContain(`| \`${name}\` |`);
    }
  });
});

function keysOf(value: unknown): string[] {
  return Object.keys(Object(value)).toSorted();
}

describe('extends', () => {
  const base = `name: base
suite: bookworm
architectures: [arm64, amd64]
packages: [systemd, one]
timeZone: UTC
users: [{name: ann, shell: /bin/sh}, {name: bob}]
commands: [first]
kernelArguments: [quiet]
services: {enabled: [a.service], masked: [m.service]}
files: [{path: /etc/base, source: data/base.txt}]
`;
  const child = `name: child
extends: ../base/base.yaml
packages: [one, two]
timeZone: Europe/Berlin
users: [{name: ann, shell: /bin/bash}]
commands: [second]
kernelArguments: [quiet, ro]
services: {enabled: [b.service]}
files: [{path: /etc/child, content: text}]
`;
  test('lists are joined, scalars are the last one said, sources are found beside their own recipe', async () => {
    const directory = folder({ 'base/base.yaml': base, 'base/data/base.txt': 'of base', 'child/child.yaml': child });
    expect(await loadRecipe(join(directory, 'child/child.yaml'))).toMatchObject({
      name: 'child',
      suite: 'bookworm',
      architectures: ['arm64', 'amd64'],
      packages: ['systemd', 'one', 'two'],
      timeZone: 'Europe/Berlin',
      users: [{ name: 'ann', shell: '/bin/bash' }, { name: 'bob' }],
      commands: ['first', 'second'],
      kernelArguments: ['quiet', 'ro'],
      services: { enabled: ['a.service', 'b.service'], disabled: [], masked: ['m.service'] },
      files: [{ path: '/etc/base', from: { source: join(directory, 'base/data/base.txt') } }, { path: '/etc/child' }],
    });
  });
  test('a circle is refused with the whole chain', async () => {
    const directory = folder({
      'a.yaml': 'name: a\nextends: ./b.yaml\n',
      'b.yaml': 'name: b\nextends: ./c.yaml\n',
      'c.yaml': 'name: c\nextends: ./a.yaml\n',
    });
    const [a, b, c] = ['a', 'b', 'c'].map((name) => join(directory, `${name}.yaml`));
    expect(await refusal(loadRecipe(a ?? ''))).toContain(`${a} -> ${b} -> ${c} -> ${a}`);
  });
  test('a recipe that is not there is named, with the one that wants it and the nearest', async () => {
    expect(await refusal(loaded('extends: debian-minmal'))).toMatch(
      /There is no recipe "debian-minmal", which .*mine\.yaml extends\n.*Did you mean debian-minimal\?/,
    );
    expect(await refusal(loadRecipe('debian-dcker'))).toMatch(/Did you mean debian-docker\?/);
  });
  test('what nobody in the chain says is missing', async () => {
    const directory = folder({ 'a.yaml': 'name: a\nsuite: trixie\n' });
    expect(await refusal(loadRecipe(join(directory, 'a.yaml')))).toMatch(/architectures: is missing\n.*extends: debian-minimal/);
  });
});

describe('a recipe that is wrong is told with place and value', () => {
  test.each<[string, string]>([
    ['pakages: [a]', 'there is no key "pakages"; did you mean "packages"?'],
    ['users: [{name: bob, grups: [a]}]', 'users[0]: there is no key "grups"; did you mean "groups"?'],
    ['users: [{name: bob, password: geheim}]', 'users[0]: there is no key "password"; did you mean "passwordHash"?'],
    ['users: [{name: bob, passwordHash: geheim}]', 'users[0].passwordHash: "geheim": is not a hash of crypt(5)'],
    ['users: [{name: Bob}]', 'users[0].name: "Bob": is not a name that useradd takes'],
    ['users: [{name: bob, authorizedKeys: [hello]}]', 'users[0].authorizedKeys[0]: "hello" is not a public SSH key'],
    ['users: [{shell: /bin/sh}]', 'users[0].name: is missing'],
    ['packages: [ok, "rm -rf /"]', 'packages[1]: "rm -rf /": is not the name of a Debian package'],
    ['files: [{path: etc/motd, content: x}]', 'files[0].path: "etc/motd": is not an absolute path'],
    ['files: [{path: /etc/../x, content: x}]', 'files[0].path: "/etc/../x": must not have .. in it'],
    ['files: [{path: /etc/motd}]', 'needs either content or source'],
    ['files: [{path: /etc/motd, content: x, source: y}]', 'needs either content or source'],
    ['files: [{path: /etc/motd, content: x, mode: 0644}]', 'files[0].mode: 644: must be in quotes'],
    ['locale: german', 'locale: "german": is not a locale, for example en_GB.UTF-8'],
    ['timeZone: ../etc/passwd', 'timeZone: "../etc/passwd": is not a time zone'],
    ['kernel: Linux', 'kernel: "Linux": is no'],
    ['kernel: {amd46: linux-image-rt-amd64}', 'kernel: there is no key "amd46"; did you mean "amd64"?'],
    ['firmware: mine', 'firmware: "mine"'],
    ['kernelArguments: ["cardless.token=x"]', 'kernelArguments[0]: "cardless.token=x": is no kernel argument'],
    ['services: {enable: [x]}', 'services: there is no key "enable"; did you mean "enabled"?'],
    ['dataVolume: yes please', 'dataVolume: "yes please"'],
    ['packages: [', 'is not valid YAML'],
  ])('%s', async (lines, message) => {
    const said = await refusal(loaded(lines));
    expect(said).toContain(message);
    expect(said).toContain('mine.yaml');
  });
});

describe('source files', () => {
  test('are read beside the recipe; a program stays one', async () => {
    const directory = folder({
      'mine.yaml':
        'name: m\nsuite: trixie\narchitectures: [amd64]\nfiles: [{path: /a, source: x/tool}, {path: /b, source: text, owner: bob}]',
      'x/tool': '#!/bin/sh\n',
      text: 'hello',
    });
    chmodSync(join(directory, 'x/tool'), 0o755);
    expect((await loadRecipe(join(directory, 'mine.yaml'))).files).toMatchObject([
      { path: '/a', mode: '0755', owner: 'root:root' },
      { path: '/b', mode: '0644', owner: 'bob:bob', sha256: '2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824' },
    ]);
  });
  test.each([
    ['../outside', 'is outside the folder of the recipe'],
    ['/etc/hostname', 'is outside the folder of the recipe'],
    ['link', 'is outside the folder of the recipe'],
    ['nothing', 'does not exist'],
    ['directory', 'is not a file'],
  ])('%s %s', async (source, reason) => {
    const directory = folder({
      'r/mine.yaml': `name: m\nsuite: trixie\narchitectures: [amd64]\nfiles: [{path: /a, source: ${source}}]`,
      outside: 'secret',
      'r/directory/file': '',
    });
    symlinkSync('../outside', join(directory, 'r/link'));
    expect(await refusal(loadRecipe(join(directory, 'r/mine.yaml')))).toContain(`the source "${source}" ${reason}`);
  });
});

describe('the key of the cache', () => {
  test('changes with everything that changes the tree, and with nothing else', async () => {
    const keyOf = async (lines: string, others?: Readonly<Record<string, string>>): Promise<string> =>
      recipeKey(await loaded(lines, others), 'amd64', 1);
    const plain = await keyOf('');
    const others = await Promise.all([
      keyOf('packages: [ab]'),
      keyOf('files: [{path: /a, content: x}]'),
      keyOf('files: [{path: /a, source: x}]', { x: 'one' }),
      keyOf('files: [{path: /a, source: x}]', { x: 'two' }),
      keyOf('users: [{name: bob}]'),
      keyOf('locale: en_GB.UTF-8'),
      keyOf('timeZone: UTC'),
      keyOf('commands: ["true"]'),
      keyOf('kernel: none'),
      keyOf('firmware: none'),
      keyOf('services: {masked: [a.service]}'),
    ]);
    expect(new Set([plain, ...others]).size).toBe(12);
    expect(await keyOf('kernelArguments: [quiet]\ndataVolume: true\ndescription: other')).toBe(plain);
  });
});

describe('what a recipe asks of the tree', () => {
  test('keys bring the packages that they need', async () => {
    const recipe = await loaded('locale: en_GB.UTF-8\ntimeZone: Europe/Berlin\nusers: [{name: bob, sudo: true}]\npackages: [sudo]');
    expect(wantedPackages(recipe)).toEqual(['sudo', 'locales', 'tzdata']);
    expect(wantedPackages(await loaded('locale: C.UTF-8'))).toEqual([]);
  });
  test('a kernel is chosen for all architectures or for each', async () => {
    const each = await loaded('kernel: {amd64: linux-image-cloud-amd64}');
    expect([kernelPackage(each, 'amd64'), kernelPackage(each, 'arm64')]).toEqual(['linux-image-cloud-amd64', 'linux-image-arm64']);
    expect(kernelPackage(await loaded('kernel: none'), 'arm64')).toBe('none');
  });
  test('text of a recipe is quoted, and never part of the script', async () => {
    const recipe = await loaded(`commands: ["echo 'a' > /b; $(reboot)"]\nfiles: [{path: "/etc/it's $(reboot)", content: x}]`);
    const { script, inputs } = customization(recipe);
    expect(script).toContain(`inside /bin/sh -e -c 'echo '\\''a'\\'' > /b; $(reboot)' </dev/null`);
    expect(script).toContain(`put 0644 root:root '/etc/it'\\''s $(reboot)' <"$inputs/file-0"`);
    expect(inputs.get('file-0')).toEqual({ content: 'x' });
  });
});
