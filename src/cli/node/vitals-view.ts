/** How the vitals of nodes look to people: what was not told is a dash. */
import { z } from 'zod';
import { type HeardVitals, meanCpu, throttlingOf, usedPercent } from '../../domain/vitals.ts';
import { ago, bytes, table } from '../format.ts';

const DiskUse = z.object({ usedBytes: z.number(), availableBytes: z.number() });

export const VitalsView = z.object({
  at: z.number(),
  hostname: z.string().optional(),
  uptimeSeconds: z.number().optional(),
  load: z.array(z.number()).optional(),
  cpu: z.array(z.number().nullable()).optional(),
  memory: z.object({ totalBytes: z.number(), availableBytes: z.number() }).optional(),
  frequencyMHz: z.number().optional(),
  temperatureCelsius: z.number().optional(),
  throttled: z.object({ from: z.enum(['firmware', 'hwmon']), bits: z.number() }).optional(),
  disks: z.object({ root: DiskUse.optional(), overlay: DiskUse.optional(), data: DiskUse.optional() }).optional(),
  network: z
    .record(
      z.string(),
      z.object({ receivedBytes: z.number(), receivedPackets: z.number(), sentBytes: z.number(), sentPackets: z.number() }),
    )
    .optional(),
}) satisfies z.ZodType<HeardVitals>;

export interface VitalsRow {
  readonly name: string;
  readonly vitals?: HeardVitals | undefined;
}

export function vitalsTable(rows: readonly VitalsRow[], now: number): string {
  return table(
    ['NAME', 'LOAD', 'CPU', 'MEMORY', 'TEMP', 'THROTTLED', 'OVERLAY', 'DATA', 'UPTIME', 'HEARD'],
    rows.map(({ name, vitals }) => [name, ...cells(vitals), vitals === undefined ? 'never' : ago(vitals.at, now)]),
  );
}

function cells(vitals: Partial<HeardVitals> = {}): string[] {
  const { load, memory, temperatureCelsius, throttled, disks, uptimeSeconds } = vitals;
  const cpu = meanCpu(vitals.cpu);
  return [
    load?.[0]?.toFixed(2),
    cpu === undefined ? undefined : `${cpu} %`,
    memory && `${usedPercent({ usedBytes: memory.totalBytes - memory.availableBytes, availableBytes: memory.availableBytes })} %`,
    temperatureCelsius === undefined ? undefined : `${temperatureCelsius.toFixed(0)} C`,
    throttled && throttlingText(throttled),
    disks?.overlay && `${usedPercent(disks.overlay)} %`,
    disks?.data && `${usedPercent(disks.data)} %`,
    uptimeSeconds === undefined ? undefined : uptime(uptimeSeconds),
  ].map((cell) => cell ?? '-');
}

/** `hwmon` knows only of the voltage, so it cannot say that nothing else slows it down. */
function throttlingText(throttled: NonNullable<HeardVitals['throttled']>): string {
  const { now, before } = throttlingOf(throttled);
  const said = [...now, ...before.map((limit) => `${limit} before`)];
  return said.length > 0 ? said.join(', ') : throttled.from === 'firmware' ? 'no' : 'no under-voltage';
}

function uptime(seconds: number): string {
  const [days, hours, minutes] = [Math.floor(seconds / 86_400), Math.floor((seconds % 86_400) / 3600), Math.floor((seconds % 3600) / 60)];
  return days > 0 ? `${days} d ${hours} h` : hours > 0 ? `${hours} h ${minutes} min` : `${minutes} min`;
}

/** Lines of `node show`. */
export function vitalsFacts(vitals: HeardVitals | undefined, now: number): [string, string][] {
  if (vitals === undefined) {
    return [];
  }
  const { load, cpu, memory, frequencyMHz, temperatureCelsius, throttled, disks = {}, network = {}, uptimeSeconds } = vitals;
  const processor = [
    cpu && `${cpu.map((share) => share ?? '-').join(' ')} % busy`,
    frequencyMHz === undefined ? undefined : `${frequencyMHz} MHz`,
    temperatureCelsius === undefined ? undefined : `${temperatureCelsius} C`,
    throttled && `throttled: ${throttlingText(throttled)}`,
  ].filter((part) => part !== undefined);
  const facts: [string, string | undefined][] = [
    ['heard', `${ago(vitals.at, now)}${uptimeSeconds === undefined ? '' : `, up for ${uptime(uptimeSeconds)}`}`],
    ['load', load?.join(' ')],
    ['cpu', processor.join(', ')],
    ['memory', memory && `${bytes(memory.totalBytes - memory.availableBytes)} of ${bytes(memory.totalBytes)} used`],
    [
      'disks',
      Object.entries(disks)
        .map(([disk, use]) => use && `${disk} ${bytes(use.usedBytes)} used, ${bytes(use.availableBytes)} free`)
        .join('; '),
    ],
    [
      'network',
      Object.entries(network)
        .map(([name, use]) => `${name} ${bytes(use.receivedBytes)} received, ${bytes(use.sentBytes)} sent`)
        .join('; '),
    ],
  ];
  return facts.filter((fact): fact is [string, string] => fact[1] !== undefined && fact[1] !== '');
}
