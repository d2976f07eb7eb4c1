/**
 * GUID Partition Table (UEFI 2.10 section 5.3). All numbers are little endian.
 *
 *   header  0 "EFI PART"  8 revision  12 size  16 CRC  24 own LBA  32 other LBA  56 disk GUID
 *           72 LBA of the entries  80 how many  84 bytes of one  88 CRC of all entries
 *   entry   0 type GUID  16 own GUID  32 first LBA  40 last LBA  48 flags  56 name, 36 UTF-16 units
 */
import { crc32 } from 'node:zlib';
import { DecodeError } from '../../domain/errors.ts';
import { type ByteRange, type Partition, type PartitionTable, requireWithin } from './partition.ts';

/** Of the entry in the MBR that keeps old programs off. */
export const gptType = 0xee;

const signature = 'EFI PART';
const headerBytes = 92;
const minEntryBytes = 128;
const maxEntryBytes = 4096;
const maxEntries = 1024;
const noType = '00000000-0000-0000-0000-000000000000';

export interface GptHeader {
  readonly ownLba: number;
  readonly otherLba: number;
  readonly diskGuid: string;
  readonly entriesLba: number;
  readonly entryCount: number;
  readonly entryBytes: number;
  readonly entriesCrc: number;
}

export interface GptEntry {
  readonly type: string;
  readonly guid: string;
  readonly firstLba: number;
  /** Belongs to it. */
  readonly lastLba: number;
  readonly name: string;
}

/** @throws DecodeError */
export function decodeGptHeader(sector: Buffer): GptHeader {
  if (sector.length < headerBytes) {
    throw new DecodeError('the GPT header is cut short', sector.length);
  }
  if (sector.toString('latin1', 0, 8) !== signature) {
    throw new DecodeError('no GPT header', 0);
  }
  const size = sector.readUInt32LE(12);
  if (size < headerBytes || size > sector.length) {
    throw new DecodeError(`a GPT header of ${size} bytes`, 12);
  }
  const blank = Buffer.from(sector.subarray(0, size));
  blank.writeUInt32LE(0, 16);
  if (crc32(blank) !== sector.readUInt32LE(16)) {
    throw new DecodeError('the checksum of the GPT header is wrong', 16);
  }
  const header = {
    ownLba: lba(sector, 24),
    otherLba: lba(sector, 32),
    diskGuid: guid(sector, 56),
    entriesLba: lba(sector, 72),
    entryCount: sector.readUInt32LE(80),
    entryBytes: sector.readUInt32LE(84),
    entriesCrc: sector.readUInt32LE(88),
  };
  if (header.entryCount > maxEntries || header.entryBytes < minEntryBytes || header.entryBytes > maxEntryBytes) {
    throw new DecodeError(`${header.entryCount} GPT entries of ${header.entryBytes} bytes`, 80);
  }
  return header;
}

export function encodeGptHeader(header: GptHeader, sectorBytes: number): Buffer {
  const sector = Buffer.alloc(sectorBytes);
  sector.write(signature, 'latin1');
  sector.writeUInt32LE(0x0001_0000, 8);
  sector.writeUInt32LE(headerBytes, 12);
  sector.writeBigUInt64LE(BigInt(header.ownLba), 24);
  sector.writeBigUInt64LE(BigInt(header.otherLba), 32);
  writeGuid(sector, 56, header.diskGuid);
  sector.writeBigUInt64LE(BigInt(header.entriesLba), 72);
  sector.writeUInt32LE(header.entryCount, 80);
  sector.writeUInt32LE(header.entryBytes, 84);
  sector.writeUInt32LE(header.entriesCrc, 88);
  sector.writeUInt32LE(crc32(sector.subarray(0, headerBytes)), 16);
  return sector;
}

/** Unused ones undefined: the place is the number. @throws DecodeError */
export function decodeGptEntries(bytes: Buffer, header: GptHeader): (GptEntry | undefined)[] {
  const { entryCount, entryBytes } = header;
  if (bytes.length < entryCount * entryBytes) {
    throw new DecodeError('the GPT entries are cut short', bytes.length);
  }
  if (crc32(bytes.subarray(0, entryCount * entryBytes)) !== header.entriesCrc) {
    throw new DecodeError('the checksum of the GPT entries is wrong', 0);
  }
  return Array.from({ length: entryCount }, (_, index) => decodeEntry(bytes, index * entryBytes));
}

function decodeEntry(bytes: Buffer, at: number): GptEntry | undefined {
  const type = guid(bytes, at);
  if (type === noType) {
    return undefined;
  }
  const entry = { type, guid: guid(bytes, at + 16), firstLba: lba(bytes, at + 32), lastLba: lba(bytes, at + 40) };
  if (entry.lastLba < entry.firstLba) {
    throw new DecodeError('a GPT partition ends before it begins', at + 40);
  }
  const name = bytes.toString('utf16le', at + 56, at + minEntryBytes);
  return { ...entry, name: name.includes('\0') ? name.slice(0, name.indexOf('\0')) : name };
}

export function encodeGptEntries(entries: readonly (GptEntry | undefined)[], entryBytes: number): Buffer {
  const bytes = Buffer.alloc(entries.length * entryBytes);
  for (const [index, entry] of entries.entries()) {
    if (entry) {
      const at = index * entryBytes;
      writeGuid(bytes, at, entry.type);
      writeGuid(bytes, at + 16, entry.guid);
      bytes.writeBigUInt64LE(BigInt(entry.firstLba), at + 32);
      bytes.writeBigUInt64LE(BigInt(entry.lastLba), at + 40);
      bytes.write(entry.name, at + 56, minEntryBytes - 56, 'utf16le');
    }
  }
  return bytes;
}

/** With sectors of 512 bytes or, where no header is at the second of those, of 4096. @throws DecodeError */
export function* readGpt(diskBytes: number): Generator<ByteRange, PartitionTable, Buffer> {
  const probe = yield { offset: 4096, length: 8 };
  const sectorBytes = probe.toString('latin1') === signature ? 4096 : 512;
  try {
    return yield* readCopy(1, sectorBytes, diskBytes);
  } catch (error) {
    if (!(error instanceof DecodeError)) {
      throw error;
    }
    const last = Math.floor(diskBytes / sectorBytes) - 1;
    // The first header's fault is told: the second is at the end, where an image that was cut short has none either.
    const backup = yield* readCopyIfGood(last, sectorBytes, diskBytes);
    if (!backup) {
      throw error;
    }
    return { ...backup, fromBackup: true };
  }
}

function* readCopyIfGood(at: number, sectorBytes: number, diskBytes: number): Generator<ByteRange, PartitionTable | undefined, Buffer> {
  if (at <= 1) {
    return undefined;
  }
  try {
    return yield* readCopy(at, sectorBytes, diskBytes);
  } catch (error) {
    if (!(error instanceof DecodeError)) {
      throw error;
    }
    return undefined;
  }
}

function* readCopy(at: number, sectorBytes: number, diskBytes: number): Generator<ByteRange, PartitionTable, Buffer> {
  const header = decodeGptHeader(yield { offset: at * sectorBytes, length: sectorBytes });
  if (header.ownLba !== at) {
    throw new DecodeError(`a GPT header of sector ${header.ownLba} in sector ${at}`, at * sectorBytes + 24);
  }
  const array = yield { offset: header.entriesLba * sectorBytes, length: header.entryCount * header.entryBytes };
  const partitions = decodeGptEntries(array, header).flatMap((entry, index): Partition[] => {
    if (!entry) {
      return [];
    }
    const { firstLba, lastLba, type, guid: partUuid, name } = entry;
    const place = { startBytes: firstLba * sectorBytes, bytes: (lastLba - firstLba + 1) * sectorBytes };
    return [{ number: index + 1, ...place, type, partUuid, ...(name === '' ? {} : { name }) }];
  });
  for (const partition of partitions) {
    requireWithin(partition, diskBytes);
  }
  return { scheme: 'gpt', partitions, fromBackup: false };
}

function lba(bytes: Buffer, at: number): number {
  const value = bytes.readBigUInt64LE(at);
  if (value > BigInt(2 ** 41)) {
    throw new DecodeError(`sector ${value} in a GPT`, at);
  }
  return Number(value);
}

/** The first three groups are little endian (RFC 4122 has them big endian). */
function guid(bytes: Buffer, at: number): string {
  const hex = (from: number, to: number): string => bytes.toString('hex', at + from, at + to);
  const swapped = (from: number, to: number): string =>
    Buffer.from(bytes.subarray(at + from, at + to))
      .reverse()
      .toString('hex');
  return [swapped(0, 4), swapped(4, 6), swapped(6, 8), hex(8, 10), hex(10, 16)].join('-');
}

function writeGuid(bytes: Buffer, at: number, text: string): void {
  const raw = Buffer.from(text.replaceAll('-', ''), 'hex');
  raw.subarray(0, 4).reverse();
  raw.subarray(4, 6).reverse();
  raw.subarray(6, 8).reverse();
  raw.copy(bytes, at);
}
