/** What a recipe says is in the image, and the same recipe gives the same image. */
import { mkdir, mkdtemp, readdir, readFile, readlink, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseImageName } from '#src/domain/image.ts';
import { ImageCatalog } from '#src/images/catalog.ts';
import { cardless, ran } from '../test/support/lab-server.ts';

const arch = process.arch === 'arm64' ? 'arm64' : 'amd64';

/** Every key that changes the tree. The cloud kernel has few modules, so it is quickly packed. */
const recipe = `name: tiny
suite: trixie
architectures: [${arch}]
packages: [systemd, systemd-sysv, cron]
kernel: linux-image-cloud-${arch}
firmware: none
kernelArguments: [cgroup_enable=memory]
dataVolume: true
users:
  - name: ann
    uid: 1500
    groups: [games, adm]
    shell: /bin/sh
    sudo: true
    authorizedKeys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGxpbmU= ann@example]
  - name: bob
    passwordHash: $6$saltsalt$qFmFH.bQmmtXzyBY0s9v7Oicd2z4XSIecDzlB5KiA2/jctKu9YterLp8wwnSq.qc.eoxqOmSuNp2xS0ktL3nh/
files:
  - path: /etc/motd
    content: |
      It's $HOME and "quoted"
  - path: /home/ann/tool
    source: files/tool
    owner: ann:ann
  - path: /etc/os-link/deep/secret
    content: s
    mode: "0600"
locale: en_GB.UTF-8
timeZone: Europe/Berlin
commands:
  - ln -s / /etc/loop
  - id -un >/etc/who
  - |
    mkdir -p /opt/made
    echo two lines >/opt/made/file
services:
  disabled: [cron.service]
  masked: [apt-daily.timer]
`;

async function recipeFolder(text: string): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), 'cardless-recipe-'));
  await mkdir(join(folder, 'files'));
  await writeFile(join(folder, 'files/tool'), '#!/bin/sh\n', { mode: 0o755 });
  await writeFile(join(folder, 'mine.yaml'), text);
  return join(folder, 'mine.yaml');
}

async function buildIn(
  state: string,
  text: string,
  ...more: string[]
): Promise<{ stdout: string; stderr: string; code: number | undefined }> {
  const file = await recipeFolder(text);
  // Nothing that another build left is used.
  const env = { CARDLESS_CACHE: await mkdtemp(join(tmpdir(), 'cardless-cache-')) };
  return await cardless(['--state', state, 'image', 'build', file, '--json', ...more], { env });
}

const newState = async (): Promise<string> => await mkdtemp(join(tmpdir(), 'cardless-recipes-'));

describe('a recipe', () => {
  test('gives the same image when everything is made anew, and all that it says is in there', async () => {
    const state = await newState();
    const [first, second] = await Promise.all([buildIn(state, recipe), buildIn(await newState(), recipe, '--fresh')]);
    expect(first.code, first.stderr).toBe(0);
    expect(second.code, second.stderr).toBe(0);
    const [one, two] = [first, second].map(({ stdout }) => (JSON.parse(stdout) as { digest: string }[])[0]?.digest);
    expect(two).toBe(one);
    const catalog = new ImageCatalog(join(state, 'images'));
    const image = await catalog.newest(parseImageName('tiny'), arch);
    expect(image).toMatchObject({ digest: one, kernelArguments: ['cgroup_enable=memory'], dataVolume: true });
    expect(image?.kernelVersion).toContain('cloud');
    if (image) {
      await checkTree(await unpacked(catalog.pathOf(image.digest, 'root.img'), image.rootFormat));
    }
  });

  test('that cannot be built says which word of it is wrong, and leaves nothing', async () => {
    const plain = `name: wrong\nsuite: trixie\narchitectures: [${arch}]\nkernel: linux-image-cloud-${arch}\n`;
    const cases: readonly [string, RegExp][] = [
      [`${plain}packages: [systemd, sytemd-sysv]`, /Debian trixie has no package "sytemd-sysv" for/],
      [`${plain.replace('trixie', 'trixy')}packages: []`, /mirror of this machine has no release "trixy"/],
      [`${plain}commands: ["true", "echo oops; false"]`, /The recipe's command echo oops; false failed: \noops\n/],
      [`${plain}users: [{name: ann, groups: [docker]}]`, /The recipe's user ann failed: there is no group "docker"/],
      [
        `${plain.replace(/kernel: .*/, 'kernel: linux-image-nothing')}packages: []`,
        /no package "linux-image-nothing" for .*\n.*under kernel/,
      ],
    ];
    const check = async ([text, message]: (typeof cases)[number]): Promise<void> => {
      const state = await newState();
      const { stderr, code } = await buildIn(state, text);
      expect(stderr).toMatch(message);
      expect(code).toBeGreaterThan(0);
      expect(await readdir(join(state, 'images')).catch(() => [])).toEqual([]);
      expect(await readdir(join(state, 'work')).catch(() => [])).toEqual([]);
    };
    await Promise.all(cases.map(check));
  });
});

/** Without the kernel's help, which may not know the format. */
async function unpacked(root: string, format: 'erofs' | 'squashfs'): Promise<string> {
  const tree = join(await mkdtemp(join(tmpdir(), 'cardless-tree-')), 'tree');
  const done =
    format === 'erofs' ? await ran('fsck.erofs', [`--extract=${tree}`, root]) : await ran('unsquashfs', ['-q', '-n', '-d', tree, root]);
  expect(done.code, done.stderr).toBe(0);
  return tree;
}

async function checkTree(tree: string): Promise<void> {
  const text = async (path: string): Promise<string> => await readFile(join(tree, path), 'utf8');
  const facts = async (path: string): Promise<object> => {
    const { mode, uid } = await stat(join(tree, path));
    return { mode: (mode & 0o7777).toString(8), uid };
  };
  expect(await text('etc/passwd')).toMatch(/^ann:x:1500:1500:.*:\/home\/ann:\/bin\/sh\nbob:/m);
  expect(await text('etc/shadow')).toMatch(/^ann:\*:[^\n]*\nbob:\$6\$saltsalt\$/m);
  expect(await text('etc/group')).toMatch(/^games:x:\d+:ann$/m);
  expect(await text('etc/sudoers.d/90-ann')).toBe('ann ALL=(ALL:ALL) NOPASSWD: ALL\n');
  expect(await text('home/ann/.ssh/authorized_keys')).toContain('ann@example');
  expect(await facts('home/ann/.ssh/authorized_keys')).toEqual({ mode: '600', uid: 1500 });
  expect(await text('etc/motd')).toBe('It\'s $HOME and "quoted"\n');
  expect(await facts('home/ann/tool')).toEqual({ mode: '755', uid: 1500 });
  expect(await facts('etc/os-link/deep/secret')).toEqual({ mode: '600', uid: 0 });
  expect(await text('etc/locale.conf')).toBe('LANG=en_GB.UTF-8\n');
  expect(await readdir(join(tree, 'usr/lib/locale'))).toContain('locale-archive');
  expect(await readlink(join(tree, 'etc/localtime'))).toBe('/usr/share/zoneinfo/Europe/Berlin');
  expect(await text('etc/who')).toBe('root\n');
  expect(await text('opt/made/file')).toBe('two lines\n');
  expect(await readlink(join(tree, 'etc/systemd/system/apt-daily.timer'))).toBe('/dev/null');
  expect(await readdir(join(tree, 'etc/systemd/system/multi-user.target.wants'))).not.toContain('cron.service');
  expect(await text('etc/machine-id')).toBe('');
}
