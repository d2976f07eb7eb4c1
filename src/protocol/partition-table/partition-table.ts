/**
 * Partition tables of disk images: MBR with extended partitions, and GPT (UEFI 2.10 section 5).
 *
 *   MBR  byte 440 disk signature (LE u32), 446 four entries of 16 bytes, 510 55 aa
 *   entry  0 status, 4 type, 8 first sector (LE u32), 12 sectors (LE u32)
 */
import { DecodeError } from '../../domain/errors.ts';
import { gptType, readGpt } from './gpt.ts';
import { type ByteRange, type Partition, type PartitionTable, requireWithin } from './partition.ts';

export interface MbrEntry {
  readonly type: number;
  readonly firstSector: number;
  readonly sectors: number;
}

export interface Mbr {
  readonly signature: number;
  /** Four, unused ones undefined: the place is the number. */
  readonly entries: readonly (MbrEntry | undefined)[];
}

export const mbrSectorBytes = 512;
const entriesAt = 446;
const extendedTypes = [0x05, 0x0f, 0x85];
/** More than this many logical partitions is a chain that leads nowhere. */
const maxLogical = 60;

/** @throws DecodeError */
export function decodeMbr(sector: Buffer): Mbr {
  if (sector.length < mbrSectorBytes) {
    throw new DecodeError('the boot sector is cut short', sector.length);
  }
  if (sector.readUInt16BE(510) !== 0x55aa) {
    throw new DecodeError('no boot sector signature', 510);
  }
  const entries = [0, 1, 2, 3].map((index) => decodeEntry(sector, entriesAt + 16 * index));
  return { signature: sector.readUInt32LE(440), entries };
}

function decodeEntry(sector: Buffer, at: number): MbrEntry | undefined {
  const status = sector.readUInt8(at);
  // A FAT boot sector ends in 55 aa as well, with code in this place.
  if (status !== 0 && status !== 0x80) {
    throw new DecodeError(`status ${status} of a partition`, at);
  }
  const type = sector.readUInt8(at + 4);
  const firstSector = sector.readUInt32LE(at + 8);
  const sectors = sector.readUInt32LE(at + 12);
  return type === 0 || sectors === 0 ? undefined : { type, firstSector, sectors };
}

export function encodeMbr(mbr: Mbr): Buffer {
  const sector = Buffer.alloc(mbrSectorBytes);
  sector.writeUInt32LE(mbr.signature, 440);
  for (const [index, entry] of mbr.entries.entries()) {
    if (entry) {
      const at = entriesAt + 16 * index;
      sector.writeUInt8(entry.type, at + 4);
      sector.writeUInt32LE(entry.firstSector, at + 8);
      sector.writeUInt32LE(entry.sectors, at + 12);
    }
  }
  sector.writeUInt16BE(0x55aa, 510);
  return sector;
}

/**
 * Reads a table by asking for bytes: whoever drives it reads the range that is yielded and gives it back; fewer bytes
 * than asked for mean the end of the disk.
 * @throws DecodeError
 */
export function* readPartitionTable(diskBytes: number): Generator<ByteRange, PartitionTable, Buffer> {
  const mbr = decodeMbr(yield { offset: 0, length: mbrSectorBytes });
  if (mbr.entries.some((entry) => entry?.type === gptType)) {
    return yield* readGpt(diskBytes);
  }
  const partitions: Partition[] = [];
  for (const [index, entry] of mbr.entries.entries()) {
    if (!entry) {
      continue;
    }
    if (extendedTypes.includes(entry.type)) {
      partitions.push(...(yield* readLogical(mbr.signature, entry.firstSector, diskBytes)));
    } else {
      partitions.push(mbrPartition(mbr.signature, index + 1, entry.firstSector, entry));
    }
  }
  const ordered = partitions.toSorted((a, b) => a.number - b.number);
  for (const partition of ordered) {
    requireWithin(partition, diskBytes);
  }
  return { scheme: 'mbr', partitions: ordered, fromBackup: false };
}

/** Each logical partition has a sector before it: its own entry, relative to that sector, and one that leads to the next. */
function* readLogical(signature: number, base: number, diskBytes: number): Generator<ByteRange, Partition[], Buffer> {
  const found: Partition[] = [];
  const seen = new Set<number>();
  for (let sector: number | undefined = base; sector !== undefined; ) {
    const offset: number = sector * mbrSectorBytes;
    if (seen.has(sector) || seen.size >= maxLogical || offset + mbrSectorBytes > diskBytes) {
      throw new DecodeError('the chain of logical partitions leads nowhere', offset);
    }
    seen.add(sector);
    const bytes: Buffer = yield { offset, length: mbrSectorBytes };
    const [own, next] = decodeMbr(bytes).entries;
    if (own) {
      found.push(mbrPartition(signature, 4 + seen.size, sector + own.firstSector, own));
    }
    sector = next && extendedTypes.includes(next.type) ? base + next.firstSector : undefined;
  }
  return found;
}

function mbrPartition(signature: number, number: number, firstSector: number, entry: MbrEntry): Partition {
  const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');
  return {
    number,
    startBytes: firstSector * mbrSectorBytes,
    bytes: entry.sectors * mbrSectorBytes,
    type: hex(entry.type, 2),
    partUuid: `${hex(signature, 8)}-${hex(number, 2)}`,
  };
}
