import { describe, expect, test } from 'vitest';
import { type Architecture, type Image, parseImageDigest, parseImageName } from '#src/domain/image.ts';
import { imageNameOf, parseImageRef, parseImageTag, requireImages, resolveRef, type TagLookup, versionOf } from '#src/domain/image-ref.ts';

function image(digits: string, arch: Architecture = 'arm64', name = 'debian-13'): Image {
  return {
    name: parseImageName(name),
    digest: parseImageDigest(digits.padEnd(64, '0')),
    arch,
    kernelVersion: '6.12',
    rootFormat: 'erofs',
    files: [],
    createdAt: '2026-01-01T00:00:00.000Z',
  };
}

const [newest, stable, old, pc, other] = [
  image('ab12cd99'),
  image('ab12cd00'),
  image('77777777'),
  image('cccccccc', 'amd64'),
  image('dddddddd', 'arm64', 'hpc'),
];
/** Newest first. */
const images = [newest, pc, stable, old, other];
const tags: TagLookup = {
  digestOf: (_name, arch, tag) => {
    const known: Record<string, Image> = { stable, gone: image('eeeeee') };
    return arch === 'arm64' ? known[tag]?.digest : undefined;
  },
};

describe('reading a reference', () => {
  test.each([
    ['debian-13', 'debian-13', { kind: 'latest' }],
    ['debian-13:latest', 'debian-13', { kind: 'latest' }],
    ['debian-13:stable', 'debian-13', { kind: 'tag', tag: 'stable' }],
    ['debian-13:v1.2-rc_1', 'debian-13', { kind: 'tag', tag: 'v1.2-rc_1' }],
    ['debian-13:abcde', 'debian-13', { kind: 'tag', tag: 'abcde' }],
    ['debian-13:ab12cd', 'debian-13', { kind: 'digest', prefix: 'ab12cd' }],
    [`hpc:${'a'.repeat(64)}`, 'hpc', { kind: 'digest', prefix: 'a'.repeat(64) }],
  ])('%s', (text, name, version) => {
    const ref = parseImageRef(text);
    expect(imageNameOf(ref)).toBe(name);
    expect(versionOf(ref)).toEqual(version);
  });
  test.each([
    ['', /"" is not an image name/],
    ['Debian', /is not an image name/],
    ['debian-13:', /is not an image reference/],
    [':stable', /is not an image name/],
    ['a:b:c', /is not an image reference/],
    ['debian-13:Stable', /neither a tag nor a digest/],
    ['debian-13:../x', /neither a tag nor a digest/],
    ['debian-13:-x', /neither a tag nor a digest/],
    [`debian-13:${'x'.repeat(64)}`, /neither a tag nor a digest/],
  ])('%s is refused', (text, message) => {
    expect(() => parseImageRef(text)).toThrow(message);
  });
  test.each([
    ['latest', /always the newest/],
    ['20261121', /beginning of a digest/],
    ['abcdef', /beginning of a digest/],
    ['with space', /neither a tag nor a digest/],
  ])('the tag %s cannot be set', (text, message) => {
    expect(() => parseImageTag(text)).toThrow(message);
  });
  test.each(['stable', '2026-11-21', 'abcde', 'v20261121'])('the tag %s can be set', (text) => {
    expect(parseImageTag(text)).toBe(text);
  });
});

describe('what a reference stands for', () => {
  const resolve = (text: string, arch: Architecture = 'arm64') => resolveRef(parseImageRef(text), arch, images, tags);
  test.each([
    ['debian-13', newest],
    ['debian-13:latest', newest],
    ['debian-13:stable', stable],
    ['debian-13:777777', old],
    [`debian-13:${stable.digest}`, stable],
    ['hpc', other],
  ])('%s', (text, want) => {
    expect(resolve(text)).toEqual({ kind: 'found', image: want });
  });
  test('architectures have versions and tags of their own', () => {
    expect(resolve('debian-13', 'amd64')).toEqual({ kind: 'found', image: pc });
    expect(resolve('debian-13:stable', 'amd64')).toMatchObject({ kind: 'none' });
    expect(resolve('debian-13:777777', 'amd64')).toMatchObject({ kind: 'none' });
  });
  test('two versions with the same first digits are told, not chosen from', () => {
    expect(resolve('debian-13:ab12cd')).toMatchObject({ kind: 'ambiguous', candidates: [newest, stable] });
  });
  test.each([
    ['nothing', /no image nothing for arm64/],
    ['debian-13:mine', /has the tag "mine"/],
    ['debian-13:gone', /is gone that had the tag "gone"/],
    ['debian-13:123456', /begins with 123456/],
  ])('%s stands for nothing, and says why', (text, reason) => {
    expect(resolve(text)).toMatchObject({ kind: 'none', reason: expect.stringMatching(reason) });
  });
});

describe('versions by reference, over all architectures', () => {
  const require = (text: string, arch?: Architecture) => requireImages(parseImageRef(text), images, tags, arch && [arch]);
  test('a name is the newest of each', () => {
    expect(require('debian-13')).toEqual([newest, pc]);
    expect(require('debian-13', 'amd64')).toEqual([pc]);
  });
  test('a digest is one version, whatever its architecture', () => {
    expect(require('debian-13:cccccc')).toEqual([pc]);
  });
  test('errors name what is there', () => {
    expect(() => require('debian-13:ab12cd')).toThrow(/beginning of 2 versions/);
    expect(() => require('nothing')).toThrow(/There is no image "nothing"/);
    expect(() => require('hpc', 'amd64')).toThrow(/There is no image "hpc" for amd64/);
    expect(() => require('debian-13:mine')).toThrow(/No version of debian-13 has the tag "mine"/);
    expect(() => require('debian-13:123456')).toThrow(/begins with 123456/);
  });
});
