import { describe, expect, test } from 'vitest';
import { type Architecture, type Image, parseImageDigest, parseImageName } from '#src/domain/image.ts';
import { parseImageRef, parseImageTag } from '#src/domain/image-ref.ts';
import { parseNodeName } from '#src/domain/node.ts';
import { parseSerial } from '#src/domain/serial.ts';
import { findGarbage, imageNeeds, type NeedFacts, type NodeFacts, nextBoots } from '#src/policy/image-needs.ts';

function image(digit: string, arch: Architecture = 'arm64'): Image {
  return {
    name: parseImageName('debian-13'),
    digest: parseImageDigest(digit.repeat(64)),
    arch,
    kernelVersion: '6.12',
    rootFormat: 'erofs',
    files: [],
    createdAt: '',
  };
}

const [newest, middle, oldest, pc] = [image('a'), image('b'), image('c'), image('d', 'amd64')];
const images = [newest, pc, middle, oldest];
const noTags: NeedFacts['tags'] = { digestOf: () => undefined, of: () => [] };
const node = (ref: string, more: Partial<NodeFacts> = {}): NodeFacts => ({
  name: parseNodeName('red5'),
  image: parseImageRef(ref),
  ...more,
});
const none: NeedFacts = { images, tags: noTags, nodes: [], overlays: [] };
const whatNeeds = (facts: Partial<NeedFacts>, wanted: Image): string[] =>
  (imageNeeds({ ...none, ...facts }).get(wanted.digest) ?? []).map(({ what }) => what);

describe('who needs a version', () => {
  test('a node that would boot it', () => {
    const nodes = [node('debian-13:bbbbbb')];
    expect(whatNeeds({ nodes }, middle)).toEqual(['red5 boots it next']);
    expect(whatNeeds({ nodes }, newest)).toEqual([]);
  });
  test('a node that runs on it, whatever it boots next', () => {
    const nodes = [node('debian-13', { boot: { arch: 'arm64', digest: oldest.digest } })];
    expect(whatNeeds({ nodes }, oldest)).toEqual(['red5 runs on it, as far as is known']);
    expect(whatNeeds({ nodes }, newest)).toEqual(['red5 boots it next']);
  });
  test('an overlay, and a tag', () => {
    const stable = parseImageTag('stable');
    const tags: NeedFacts['tags'] = { digestOf: () => undefined, of: (digest) => (digest === middle.digest ? [stable] : []) };
    expect(whatNeeds({ overlays: [{ node: 'red7', digest: oldest.digest }] }, oldest)).toEqual(['red7 has an overlay of it']);
    expect(whatNeeds({ tags }, middle)).toEqual(['it has the tag stable']);
  });
  test('nobody', () => {
    expect(imageNeeds(none).size).toBe(0);
  });
});

describe('what a node boots next', () => {
  test.each<[string, Partial<NodeFacts>, Image[]]>([
    ['of unknown kind: either architecture', {}, [newest, pc]],
    ['with a serial of a Pi', { serial: parseSerial('91cdf03d') }, [newest]],
    ['that booted as a PC', { boot: { arch: 'amd64', digest: pc.digest } }, [pc]],
  ])('%s', (_name, more, want) => {
    expect(nextBoots(node('debian-13', more), none).toSorted()).toEqual(want.map(({ digest }) => digest).toSorted());
  });
});

describe('garbage', () => {
  const needs = imageNeeds({ ...none, overlays: [{ node: 'red7', digest: oldest.digest }] });
  test('is what nobody needs and is not among the newest', () => {
    const { remove, kept } = findGarbage({ images, needs, keep: 1, busy: () => false });
    expect(remove).toEqual([middle]);
    expect(kept.map(({ why }) => why.join())).toEqual(['it is the newest', 'it is the newest', 'red7 has an overlay of it']);
  });
  test('is nothing while it is to be kept, or a job works on it', () => {
    expect(findGarbage({ images, needs, keep: 2, busy: () => false }).remove).toEqual([]);
    expect(findGarbage({ images, needs, keep: 1, busy: () => true }).remove).toEqual([]);
  });
});
