/** What every kind of partition table comes to. */
import { DecodeError } from '../../domain/errors.ts';

export interface Partition {
  /** As in /dev/mmcblk0p2. */
  readonly number: number;
  readonly startBytes: number;
  readonly bytes: number;
  /** Two hex digits in an MBR, a GUID in a GPT. */
  readonly type: string;
  /** PARTUUID, as Linux writes it. */
  readonly partUuid: string;
  /** GPT only. */
  readonly name?: string;
}

export interface PartitionTable {
  readonly scheme: 'mbr' | 'gpt';
  readonly partitions: readonly Partition[];
  /** GPT whose first header was broken. */
  readonly fromBackup: boolean;
}

export interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/** @throws DecodeError where an image was cut short, or its table is of another disk */
export function requireWithin(partition: Partition, diskBytes: number): void {
  const end = partition.startBytes + partition.bytes;
  if (partition.startBytes === 0 || end > diskBytes) {
    throw new DecodeError(`partition ${partition.number} ends at byte ${end}, the image`, diskBytes);
  }
}
