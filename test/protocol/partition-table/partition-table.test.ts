import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DecodeError } from '#src/domain/errors.ts';
import { encodeGptEntries, encodeGptHeader, type GptEntry } from '#src/protocol/partition-table/gpt.ts';
import type { PartitionTable } from '#src/protocol/partition-table/partition.ts';
import { encodeMbr, type MbrEntry, readPartitionTable } from '#src/protocol/partition-table/partition-table.ts';

function read(disk: Buffer): PartitionTable {
  const reading = readPartitionTable(disk.length);
  for (let step = reading.next(); ; ) {
    if (step.done) {
      return step.value;
    }
    const { offset, length } = step.value;
    step = reading.next(disk.subarray(offset, offset + length));
  }
}

const sectors = 512;

function mbrDisk(
  entries: readonly (MbrEntry | undefined)[],
  logical: Readonly<Record<number, readonly (MbrEntry | undefined)[]>> = {},
): Buffer {
  const disk = Buffer.alloc(sectors * 512);
  encodeMbr({ signature: 0xdeadbeef, entries }).copy(disk);
  for (const [sector, own] of Object.entries(logical)) {
    encodeMbr({ signature: 0, entries: own }).copy(disk, Number(sector) * 512);
  }
  return disk;
}

function gptDisk(entries: readonly (GptEntry | undefined)[], sectorBytes = 512): Buffer {
  const disk = Buffer.alloc(sectors * sectorBytes);
  const all = Array.from({ length: 128 }, (_, index) => entries[index]);
  const array = encodeGptEntries(all, 128);
  const last = sectors - 1;
  const arraySectors = array.length / sectorBytes;
  const common = { diskGuid: 'c12a7328-f81f-11d2-ba4b-00a0c93ec93b', entryCount: 128, entryBytes: 128, entriesCrc: crc32(array) };
  encodeMbr({ signature: 0, entries: [{ type: 0xee, firstSector: 1, sectors: last }] }).copy(disk);
  encodeGptHeader({ ...common, ownLba: 1, otherLba: last, entriesLba: 2 }, sectorBytes).copy(disk, sectorBytes);
  array.copy(disk, 2 * sectorBytes);
  encodeGptHeader({ ...common, ownLba: last, otherLba: 1, entriesLba: last - arraySectors }, sectorBytes).copy(disk, last * sectorBytes);
  array.copy(disk, (last - arraySectors) * sectorBytes);
  return disk;
}

const root: GptEntry = {
  type: '0fc63daf-8483-4772-8e79-3d69d8477de4',
  guid: '11111111-2222-3333-4444-555566667777',
  firstLba: 40,
  lastLba: 139,
  name: 'root',
};

describe('MBR', () => {
  test('partitions in their places, with the PARTUUIDs that Linux gives them', () => {
    const disk = mbrDisk([{ type: 0x0c, firstSector: 8, sectors: 16 }, undefined, { type: 0x83, firstSector: 24, sectors: 100 }]);
    expect(read(disk)).toEqual({
      scheme: 'mbr',
      fromBackup: false,
      partitions: [
        { number: 1, startBytes: 4096, bytes: 8192, type: '0c', partUuid: 'deadbeef-01' },
        { number: 3, startBytes: 12_288, bytes: 51_200, type: '83', partUuid: 'deadbeef-03' },
      ],
    });
  });
  test('logical partitions count from 5', () => {
    const disk = mbrDisk([{ type: 0x05, firstSector: 100, sectors: 300 }], {
      100: [
        { type: 0x83, firstSector: 2, sectors: 50 },
        { type: 0x05, firstSector: 100, sectors: 100 },
      ],
      200: [{ type: 0x82, firstSector: 4, sectors: 20 }],
    });
    expect(read(disk).partitions.map(({ number, startBytes, type }) => [number, startBytes / 512, type])).toEqual([
      [5, 102, '83'],
      [6, 204, '82'],
    ]);
  });
  test.each([
    [
      'a chain in a circle',
      {
        100: [
          { type: 0x83, firstSector: 2, sectors: 5 },
          { type: 0x05, firstSector: 0, sectors: 9 },
        ],
      },
    ],
    [
      'a chain out of the disk',
      {
        100: [
          { type: 0x83, firstSector: 2, sectors: 5 },
          { type: 0x05, firstSector: 900, sectors: 9 },
        ],
      },
    ],
  ])('%s is refused', (_, logical) => {
    expect(() => read(mbrDisk([{ type: 0x05, firstSector: 100, sectors: 300 }], logical))).toThrow(/leads nowhere/);
  });
  test('an image that was cut short is refused', () => {
    const disk = mbrDisk([{ type: 0x83, firstSector: 8, sectors: 504 }]);
    expect(read(disk).partitions).toHaveLength(1);
    expect(() => read(disk.subarray(0, -512))).toThrow(/partition 1 ends at byte 262144, the image at byte 261632/);
  });
});

describe('GPT', () => {
  test.each([512, 4096])('with sectors of %d bytes', (sectorBytes) => {
    expect(read(gptDisk([undefined, root], sectorBytes))).toEqual({
      scheme: 'gpt',
      fromBackup: false,
      partitions: [
        { number: 2, startBytes: 40 * sectorBytes, bytes: 100 * sectorBytes, type: root.type, partUuid: root.guid, name: 'root' },
      ],
    });
  });
  test.each([
    ['header', 512 + 40],
    ['entries', 1024 + 33],
  ])('one wrong bit in the first %s: the second copy is taken; in both: refused', (_, at) => {
    const disk = gptDisk([root]);
    disk.writeUInt8(disk.readUInt8(at) ^ 4, at);
    expect(read(disk)).toMatchObject({ fromBackup: true, partitions: [{ partUuid: root.guid }] });
    const last = disk.length - 512 + 40;
    disk.writeUInt8(disk.readUInt8(last) ^ 4, last);
    expect(() => read(disk)).toThrow(/checksum of the GPT (header|entries) is wrong/);
  });
  test('without its end it is refused where a partition is beyond it', () => {
    const disk = gptDisk([{ ...root, lastLba: 470 }]);
    expect(() => read(disk.subarray(0, 300 * 512))).toThrow(/partition 1 ends at byte/);
  });
});

describe('laws', () => {
  const entry = fc.record({
    type: fc.constantFrom(0x0c, 0x83, 0x82),
    firstSector: fc.integer({ min: 1, max: 200 }),
    sectors: fc.integer({ min: 1, max: 200 }),
  });
  test('what is encoded is read back (MBR)', () => {
    fc.assert(
      fc.property(fc.array(fc.option(entry, { nil: undefined }), { minLength: 4, maxLength: 4 }), (entries) => {
        const found = read(mbrDisk(entries)).partitions.map((p) => ({ n: p.number, s: p.startBytes / 512, c: p.bytes / 512 }));
        expect(found).toEqual(entries.flatMap((e, index) => (e ? [{ n: index + 1, s: e.firstSector, c: e.sectors }] : [])));
      }),
    );
  });
  const gptEntry = fc.record({
    type: fc.uuid(),
    guid: fc.uuid(),
    firstLba: fc.integer({ min: 34, max: 200 }),
    lastLba: fc.integer({ min: 200, max: 400 }),
    name: fc.string({ maxLength: 36, unit: fc.constantFrom('a', 'Z', '0', ' ', '\u00e4', '\u6587') }),
  });
  test('what is encoded is read back (GPT)', () => {
    fc.assert(
      fc.property(fc.array(fc.option(gptEntry, { nil: undefined }), { maxLength: 20 }), (entries) => {
        const found = read(gptDisk(entries)).partitions.map(({ number, partUuid, name }) => ({ number, partUuid, name: name ?? '' }));
        expect(found).toEqual(entries.flatMap((e, index) => (e ? [{ number: index + 1, partUuid: e.guid, name: e.name }] : [])));
      }),
      { numRuns: 30 },
    );
  });
  const onlyDecodeErrors = (disk: Buffer): void => {
    try {
      for (const { startBytes, bytes } of read(disk).partitions) {
        expect(startBytes + bytes).toBeLessThanOrEqual(disk.length);
      }
    } catch (error) {
      expect(error).toBeInstanceOf(DecodeError);
    }
  };
  test('random bytes, prefixes and changed bytes give a table within the disk or a DecodeError', () => {
    const disks = [
      mbrDisk([{ type: 0x05, firstSector: 100, sectors: 300 }], { 100: [{ type: 0x83, firstSector: 2, sectors: 50 }] }),
      gptDisk([root]),
    ];
    for (const disk of disks) {
      for (let length = 0; length < disk.length; length += 256) {
        onlyDecodeErrors(disk.subarray(0, length));
      }
    }
    fc.assert(fc.property(fc.uint8Array({ maxLength: 2048 }), (bytes) => onlyDecodeErrors(Buffer.from(bytes))));
    fc.assert(
      fc.property(fc.constantFrom(...disks), fc.array(fc.tuple(fc.nat(2048), fc.nat(255)), { maxLength: 8 }), (disk, changes) => {
        const changed = Buffer.from(disk);
        for (const [at, value] of changes) {
          changed.writeUInt8(value, at);
        }
        onlyDecodeErrors(changed);
      }),
    );
  });
});
