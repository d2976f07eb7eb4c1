/** How a node that runs does, as its agent tells it (rootfs/agent/vitals). What a machine cannot tell is absent. */
export interface Vitals {
  readonly hostname?: string | undefined;
  readonly uptimeSeconds?: number | undefined;
  /** Over one, five and fifteen minutes. */
  readonly load?: readonly number[] | undefined;
  /** How busy each core was since the report before, in percent; null for one that has just come. */
  readonly cpu?: readonly (number | null)[] | undefined;
  readonly memory?: { readonly totalBytes: number; readonly availableBytes: number } | undefined;
  /** Of the fastest core. */
  readonly frequencyMHz?: number | undefined;
  /** Of the processor. */
  readonly temperatureCelsius?: number | undefined;
  readonly throttled?: Throttling | undefined;
  readonly disks?: { readonly [Disk in VitalDisk]?: DiskUse | undefined } | undefined;
  /** Since the interface came up, by its name. */
  readonly network?: Readonly<Record<string, NetworkUse>> | undefined;
}

/** `root` is the image, which nobody can write to; `overlay` is what a node has written over it. */
export type VitalDisk = 'root' | 'overlay' | 'data';

export interface DiskUse {
  readonly usedBytes: number;
  readonly availableBytes: number;
}

export interface NetworkUse {
  readonly receivedBytes: number;
  readonly receivedPackets: number;
  readonly sentBytes: number;
  readonly sentPackets: number;
}

export interface Throttling {
  /** `hwmon` knows of no bit but the first. */
  readonly from: 'firmware' | 'hwmon';
  readonly bits: number;
}

/** When the server heard it. */
export type HeardVitals = Vitals & { readonly at: number };

/** Absent: every five seconds. */
export const defaultVitalsSeconds = 5;

/** Bits of GET_THROTTLED, as vcgencmd shows them; those from 16 on say that it has been so. */
const limits = ['under-voltage', 'frequency capped', 'throttled', 'soft temperature limit'] as const;

/** What slows the processor down, and what has; nothing where nobody can tell. */
export function throttlingOf({ bits }: Throttling): { readonly now: readonly string[]; readonly before: readonly string[] } {
  const set = (first: number): string[] => limits.filter((_limit, index) => Math.floor(bits / 2 ** (first + index)) % 2 === 1);
  const now = set(0);
  return { now, before: set(16).filter((limit) => !now.includes(limit)) };
}

/** As df has it: of what is not kept back for root. */
export function usedPercent({ usedBytes, availableBytes }: DiskUse): number {
  const all = usedBytes + availableBytes;
  return all === 0 ? 0 : Math.ceil((100 * usedBytes) / all);
}

/** Of all cores together; undefined before the second report. */
export function meanCpu(cpu: Vitals['cpu']): number | undefined {
  const known = (cpu ?? []).filter((share) => share !== null);
  return known.length === 0 ? undefined : Math.round(known.reduce((sum, share) => sum + share, 0) / known.length);
}
