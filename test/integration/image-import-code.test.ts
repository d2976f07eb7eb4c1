import { mkdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { buffer } from 'node:stream/consumers';
import { pack } from 'tar-stream';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { unpackConfined } from '#src/images/import/confined-tar.ts';
import { must, removeScratch, scratch } from '../support/pi-card.ts';

/** A library that leaves a mark in the root and in the tree below it as soon as any program loads it. */
const marking = `
#include <fcntl.h>
__attribute__((constructor)) static void mark(void) {
  creat("/ran", 0600);
  creat("/tree/ran", 0600);
}`;

let place: string;
let library: Buffer;

beforeAll(async () => {
  place = await scratch('code');
  const [source, output] = [join(place, 'mark.c'), join(place, 'mark.so')];
  await writeFile(source, marking);
  await must('gcc', '-shared', '-fPIC', '-o', output, source);
  library = await readFile(output);
});

afterAll(removeScratch);

type Entry = readonly [name: string, content: string | Buffer, more?: { pax?: Record<string, string>; linkname?: string }];

async function unpack(name: string, archives: readonly { readonly into?: string; readonly entries: readonly Entry[] }[]): Promise<string> {
  const work = join(place, name);
  const tree = join(work, 'tree');
  await mkdir(work);
  for (const { into = '', entries } of archives) {
    const archive = pack();
    for (const [path, content, { pax, linkname } = {}] of entries) {
      const type = linkname === undefined ? 'file' : 'symlink';
      archive.entry({ name: path, mode: 0o755, type, ...(pax ? { pax } : {}), ...(linkname ? { linkname } : {}) }, content);
    }
    archive.finalize();
    const file = join(work, 'archive.tar');
    await writeFile(file, await buffer(archive));
    await unpackConfined({ kind: 'archive', file }, { work, tree, into, signal: new AbortController().signal, onBytes: () => {} });
  }
  return tree;
}

async function ran(tree: string): Promise<boolean> {
  return (await stat(join(tree, 'ran')).catch(() => undefined)) !== undefined;
}

describe('code in an archive is not run by unpacking it', () => {
  test('a library that looks up users', async () => {
    const folders = ['lib', 'lib64', 'usr/lib', 'lib/x86_64-linux-gnu', 'lib/aarch64-linux-gnu'];
    const acl = { 'SCHILY.acl.access': 'user::rw-,user:bob:rwx,group::r--,mask::rwx,other::r--' };
    const tree = await unpack('users', [
      {
        entries: [
          ['etc/nsswitch.conf', 'passwd: evil\ngroup: evil\n'],
          ...folders.map((folder): Entry => [`${folder}/libnss_evil.so.2`, library]),
          ['file', '', { pax: acl }],
        ],
      },
    ]);
    expect(await stat(join(tree, 'file'))).toBeDefined();
    expect(await ran(tree)).toBe(false);
  });
  test('a library that is loaded before all others', async () => {
    const tree = await unpack('preload', [
      {
        entries: [
          ['etc/ld.so.preload', '/mark.so /tree/mark.so\n'],
          ['mark.so', library],
        ],
      },
      { into: 'boot', entries: [['vmlinuz', 'kernel']] },
    ]);
    expect(await readFile(join(tree, 'boot/vmlinuz'), 'utf8')).toBe('kernel');
    expect(await ran(tree)).toBe(false);
  });
});

describe('a folder for another partition that is a link', () => {
  test.each(['/data/boot', 'data/boot', '../../../data/boot'])('to %s is followed within the tree', async (linkname) => {
    const tree = await unpack(`link${linkname.replaceAll(/\W/g, '-')}`, [
      {
        entries: [
          ['data/boot/kept', ''],
          ['boot', '', { linkname }],
        ],
      },
      { into: 'boot', entries: [['vmlinuz', 'kernel']] },
    ]);
    expect(await readFile(join(tree, 'data/boot/vmlinuz'), 'utf8')).toBe('kernel');
  });
  test('that leads nowhere is refused', async () => {
    const archives = [
      { entries: [['boot', '', { linkname: '/nowhere' }] as const] },
      { into: 'boot', entries: [['vmlinuz', ''] as const] },
    ];
    await expect(unpack('nowhere', archives)).rejects.toMatchObject({ code: 'bad-input' });
  });
});

test('members below a link to a folder of the tree', async () => {
  const tree = await unpack('usr', [
    {
      entries: [
        ['usr/lib/a', 'a'],
        ['lib', '', { linkname: 'usr/lib' }],
        ['lib/b', 'b'],
      ],
    },
  ]);
  expect(await readFile(join(tree, 'usr/lib/b'), 'utf8')).toBe('b');
});
