import { expect, test } from 'vitest';
import { mountOptions } from '#src/images/import/disk-image.ts';

test.each([
  ['ext4', 'ro', '', ['ro', 'errors=continue']],
  ['ext4', 'rw', '', ['rw', 'errors=remount-ro']],
  ['btrfs', 'ro', '@', ['ro', 'subvol=@']],
] as const)('%s, %s: nothing of it is run, and no error in it stops this machine', (fileSystem, access, subvolume, own) => {
  const options = mountOptions(fileSystem, access, subvolume).split(',');
  expect(options.toSorted()).toEqual(['loop', 'nodev', 'nosuid', 'noexec', ...own].toSorted());
});
