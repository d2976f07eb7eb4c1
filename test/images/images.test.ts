import { existsSync, mkdirSync, mkdtempSync, readdirSync, writeFileSync } from 'node:fs';
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
  test('a manifest that cannot be read is named', async () => {
    const directory = images();
    mkdirSync(join(directory, 'a'.repeat(64)), { recursive: true });
    writeFileSync(join(directory, 'a'.repeat(64), 'manifest.json'), '{"name":');
    await expect(new ImageCatalog(directory).list()).rejects.toThrow(/manifest\.json cannot be read/);
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
  test('the list knows comments and what to load at once', () => {
    expect(readModulesList('# a\nload nbd # why\n\nlan78xx\n')).toEqual([
      { name: 'nbd', load: true },
      { name: 'lan78xx', load: false },
    ]);
  });
});
