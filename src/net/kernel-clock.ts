/** Whether somebody keeps this machine's clock right, as the kernel was told (adjtimex(2)). */
import koffi from 'koffi';

const libc = koffi.load('libc.so.6');
const adjtimex = libc.func('int adjtimex(void *buffer)');

/** Room for struct timex of every 64-bit Linux. */
const timexBytes = 256;
const maxErrorAt = 24;
const statusAt = 40;
const STA_INS = 0x10;
const STA_DEL = 0x20;
const STA_UNSYNC = 0x40;

export interface KernelClock {
  readonly isSynchronised: boolean;
  readonly maxErrorSeconds: number;
  readonly leapSecond: 'none' | 'insert' | 'delete';
}

export function readKernelClock(): KernelClock {
  // All zeros: nothing is to be set.
  const timex = Buffer.alloc(timexBytes);
  const result = Number(adjtimex(timex));
  const status = timex.readInt32LE(statusAt);
  return {
    isSynchronised: result >= 0 && (status & STA_UNSYNC) === 0,
    maxErrorSeconds: Number(timex.readBigInt64LE(maxErrorAt)) / 1e6,
    leapSecond: (status & STA_INS) !== 0 ? 'insert' : (status & STA_DEL) !== 0 ? 'delete' : 'none',
  };
}
