import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parseImageName } from '#src/domain/image.ts';
import { ImageCatalog } from '#src/images/catalog.ts';
import { moduleClosure, readModulesList } from '#src/images/modules.ts';
import { publishImage } from '#src/images/publish.ts';

const facts = { name: parseImageName('test'), arch: 'arm64', kernelVersion: '6.12', rootFormat: 'erofs' } as const;

function draft(content: string): string {
  const directory = mkdtempSync(join(tmpdir(), 'cardless-draft-'));
  mkdirSync(join(directory, 'boot'));
  writeFileSync(join(directory, 'root.img'), content);
  writeFileSync(join(directory, 'boot/kernel8.img'), 'kernel');
  return directory;
}

describe('publishing', () => {
  const images = (): string => join(mkdtempSync(join(tmpdir(), 'cardless-')), 'images');
  test('moves the finished directory to its digest, and the catalog finds it', async () => {
    const directory = images();
    const work = draft('root');
    const image = await publishImage(work, facts, directory, new Date(0));
    expect(existsSync(work)).toBe(false);
    expect(readdirSync(directory)).toEqual([image.digest]);
    expect(image.files.map((file) => file.path)).toEqual(['boot/kernel8.img', 'root.img']);
    const catalog = new ImageCatalog(directory);
    expect(await catalog.find(image.digest)).toEqual(image);
    expect(await catalog.newest(facts.name, 'arm64')).toEqual(image);
    expect(await catalog.newest(facts.name, 'amd64')).toBeUndefined();
  });
  test('the same content is the same version, other content another', async () => {
    const directory = images();
    const one = await publishImage(draft('root'), facts, directory, new Date(0));
    const two = await publishImage(draft('root'), facts, directory, new Date(99_999));
    const three = await publishImage(draft('other'), facts, directory, new Date(99_999));
    expect(two.digest).toBe(one.digest);
    expect(three.digest).not.toBe(one.digest);
    const catalog = new ImageCatalog(directory);
    expect(await catalog.newest(facts.name, 'arm64')).toEqual(three);
    const again = await publishImage(draft('root'), facts, directory, new Date(200_000));
    expect(again.digest).toBe(one.digest);
    expect(await catalog.newest(facts.name, 'arm64')).toEqual(again);
  });
  test('a draft that was never published is no image', async () => {
    const directory = images();
    mkdirSync(join(directory, 'half-made'), { recursive: true });
    expect(await new ImageCatalog(directory).list()).toEqual([]);
    expect(await new ImageCatalog(join(directory, 'absent')).list()).toEqual([]);
  });
  test.each([
    ['is cut off', (text: string) => text.slice(0, 40)],
    ['has a flipped bit in a size', (text: string) => text.replace('"bytes": 6', '"bytes": 7')],
    ['has another name', (text: string) => text.replace('"test"', '"tesu"')],
  ])('an image whose manifest %s is named, and the others are there', async (_what, damage) => {
    const directory = images();
    const good = await publishImage(draft('root'), facts, directory, new Date(0));
    const bad = await publishImage(draft('other'), facts, directory, new Date(1));
    const file = join(directory, bad.digest, 'manifest.json');
    const text = readFileSync(file, 'utf8');
    expect(damage(text)).not.toBe(text);
    writeFileSync(file, damage(text));
    const catalog = new ImageCatalog(directory);
    expect(await catalog.list()).toEqual([good]);
    expect(await catalog.newest(facts.name, 'arm64')).toEqual(good);
    expect(await catalog.listBroken()).toMatchObject([{ digest: bad.digest, reason: expect.stringContaining(file) }]);
    // Published again it is whole again.
    await publishImage(draft('other'), facts, directory, new Date(2));
    expect(await catalog.listBroken()).toEqual([]);
    expect((await catalog.list()).map((image) => image.digest)).toEqual([bad.digest, good.digest]);
  });
  test('removing takes a version away as a whole, and leaves nothing in the work folder', async () => {
    const directory = images();
    const work = join(directory, '../work');
    const one = await publishImage(draft('root'), facts, directory, new Date(0));
    const two = await publishImage(draft('other'), facts, directory, new Date(1));
    const catalog = new ImageCatalog(directory);
    await catalog.remove(two.digest, work);
    expect(await catalog.list()).toEqual([one]);
    expect(readdirSync(directory)).toEqual([one.digest]);
    expect(readdirSync(work)).toEqual([]);
    await expect(catalog.remove(two.digest, work)).rejects.toThrow(/is gone/);
  });
});

describe('modules of the initramfs', () => {
  const dep = [
    'kernel/fs/ext4/ext4.ko.xz: kernel/lib/crc16.ko.xz kernel/fs/jbd2/jbd2.ko.xz',
    'kernel/lib/crc16.ko.xz:',
    'kernel/fs/jbd2/jbd2.ko.xz:',
    'kernel/drivers/usb/phy/phy-generic.ko.xz:',
    '',
  ].join('\n');
  test('come with what they depend on, sorted', () => {
    expect(moduleClosure(dep, ['ext4'])).toEqual(['kernel/fs/ext4/ext4.ko.xz', 'kernel/fs/jbd2/jbd2.ko.xz', 'kernel/lib/crc16.ko.xz']);
  });
  test('dash and underscore are the same, and unknown names are passed over', () => {
    expect(moduleClosure(dep, ['phy_generic', 'nothing'])).toEqual(['kernel/drivers/usb/phy/phy-generic.ko.xz']);
  });

  test.each(['kernel/nbd.ko: /etc/shadow', 'kernel/nbd.ko: kernel/../../../etc/shadow', '../nbd.ko:', '/var/lib/nbd.ko:'])(
    'a file outside of the folder is refused: %s',
    (dep) => {
      expect(() => moduleClosure(dep, ['nbd'])).toThrow('outside of its folder');
      expect(moduleClosure(dep, ['other'])).toEqual([]);
    },
  );

  test('the list knows comments and what to load at once', () => {
    expect(readModulesList('# a\nload nbd # why\n\nlan78xx\n')).toEqual([
      { name: 'nbd', load: true },
      { name: 'lan78xx', load: false },
    ]);
  });
});
