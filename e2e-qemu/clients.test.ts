import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, describe, expect, test } from 'vitest';
import { systemClock } from '#src/daemon/system-clock.ts';
import { parseMac } from '#src/domain/mac.ts';
import { parseSerial } from '#src/domain/serial.ts';
import { classifyClient } from '#src/policy/classify-client.ts';
import { startChild } from '#src/process/supervise.ts';
import { decodeDhcp, encodeDhcp } from '#src/protocol/dhcp/message.ts';
import { missingFirmware, PcMachine, type PcModelName, pcModelTitle } from '#src/sim/pc-machines.ts';
import { dhcpRequests } from '../test/support/dhcp-requests.ts';
import { hideIpxe, startRouter } from '../test/support/foreign.ts';
import { useRealImages } from '../test/support/guests.ts';
import { cardless, serverLog, startLab, subnet, type TestLab, until } from '../test/support/lab-server.ts';
import { slots } from '../test/support/slots.ts';

interface ClientCase {
  readonly model: PcModelName;
  /** As the server sees it on its way, repetitions left out. */
  readonly classes: readonly string[];
  readonly loader?: 'grub';
  /** U-Boot's saved environment. */
  readonly environment?: { readonly full: Record<string, string>; readonly proxy: Record<string, string> };
  /** Why nobody can boot it in proxy mode, where it must then have the router's address as if we were not there. */
  readonly leftAlone?: string;
}

const places = { kernel_addr_r: '0x40400000', ramdisk_addr_r: '0x44000000', pxefile_addr_r: '0x40300000', fdt_addr_r: '0x4b000000' };
/** qemu_arm64 has its device tree at the beginning of the memory. */
const saved = (bootcmd: string): Record<string, string> => ({ bootcmd, bootdelay: '0', fdt_addr: '0x40000000', ...places });

const cases: readonly ClientCase[] = [
  {
    model: 'u-boot-pxe',
    classes: ['u-boot', 'lease'],
    environment: {
      full: saved('pci enum; dhcp; if pxe get; then pxe boot; fi'),
      // U-Boot knows no proxies: the router's offer names the router, so its owner says where the files are.
      proxy: saved('pci enum; setenv autoload no; dhcp; setenv serverip 10.78.0.1; if pxe get; then pxe boot; fi'),
    },
  },
  { model: 'ovmf-secure', classes: ['pxe', 'lease'], loader: 'grub' },
  { model: 'aavmf-pxe', classes: ['pxe', 'ipxe', 'lease'] },
  {
    model: 'u-boot-efi',
    classes: ['u-boot', 'pxe', 'lease'],
    leftAlone: 'it knows no proxies',
  },
  { model: 'bios-plain', classes: ['pxe', 'ipxe', 'lease'] },
  { model: 'ovmf-pxe', classes: ['pxe', 'ipxe', 'lease'] },
  { model: 'ovmf-http', classes: ['uefi-http', 'ipxe', 'lease'] },
  { model: 'bios-virtio', classes: ['ipxe', 'lease'] },
  { model: 'bios-e1000', classes: ['ipxe', 'lease'] },
];
const runs = cases.flatMap((entry) => (['full', 'proxy'] as const).map((mode) => ({ ...entry, mode, title: pcModelTitle(entry.model) })));

const serial = parseSerial('5f0c2a4e-7d1b-4e9a-8c36-2b90d4a17e55');
const mac = parseMac('52:54:00:12:34:56');
/** From power-on to our initramfs, on two busy cores without hardware virtualisation. */
const bootTimeoutMs = 8 * 60_000;
/** Guests at once; a guest takes a core. */
const takeSlot = slots(2);
const rows: { readonly title: string; readonly mode: string; readonly result: string }[] = [];

afterAll(() => {
  const line = (title: string, mode: string, result: string): string => `  ${title.padEnd(34)} ${mode.padEnd(6)} ${result}\n`;
  const order = runs.map((run) => rows.find((row) => row.title === run.title && row.mode === run.mode));
  process.stdout.write(`\n${line('client', 'mode', 'to our initramfs')}`);
  process.stdout.write(order.map((row, at) => line(runs[at]?.title ?? '', runs[at]?.mode ?? '', row?.result ?? 'not seen')).join(''));
});

describe('real firmware, from power-on to our initramfs', () => {
  test.concurrent.for(runs)('$title, mode $mode', async (run, context) => {
    await using _slot = await takeSlot();
    const missing = await missingFirmware(run.model);
    if (missing.length > 0) {
      const reason = `not here: ${missing.join(', ')}`;
      rows.push({ title: run.title, mode: run.mode, result: `skipped, ${reason}` });
      context.skip(reason);
    }
    const flags = run.mode === 'full' ? ['--mode', 'full', '--subnet', subnet] : ['--mode', 'proxy'];
    await using lab = await startLab(`${run.model}-${run.mode}`, [...flags, '--uefi-loader', run.loader ?? 'ipxe']);
    await useRealImages(lab);
    await using _router = run.mode === 'proxy' ? await startRouter(lab) : undefined;
    // U-Boot alone does not say which machine it is.
    const identity = run.model.startsWith('u-boot') ? ['--mac', mac] : ['--serial', serial];
    expect(await cardless(['--state', lab.state, 'node', 'add', 'pc1', ...identity])).toMatchObject({ code: 0 });
    const pcap = join(lab.state, 'dhcp.pcap');
    await using capture = startChild(
      ...lab.lab.inside('tcpdump', ['-i', 'br0', '-U', '--immediate-mode', '-w', pcap, 'udp port 67 or udp port 4011']),
      {
        graceMs: 3000,
      },
    );
    await until(async () => (await readFile(pcap).catch(() => Buffer.alloc(0))).length > 0, 'tcpdump');
    if (run.mode === 'proxy' && run.leftAlone !== undefined) {
      await staysWithTheRouter(lab, run);
      rows.push({ title: run.title, mode: run.mode, result: `   left to the router: ${run.leftAlone}` });
      return;
    }
    const seconds = await boot(lab, run);
    await capture.stop();
    await checkRequests(pcap, run.classes);
    rows.push({ title: run.title, mode: run.mode, result: `${seconds.toFixed(0).padStart(4)} s` });
  });
});

function machine(lab: TestLab, run: (typeof runs)[number]): PcMachine {
  const environment = run.environment?.[run.mode];
  const options = { model: run.model, lab: lab.lab, clock: systemClock, mac, serial, directory: join(lab.state, 'pc'), onLine: () => {} };
  return new PcMachine({ ...options, ...(environment ? { environment } : {}) });
}

async function staysWithTheRouter(lab: TestLab, run: (typeof runs)[number]): Promise<void> {
  await using pc = machine(lab, run);
  await pc.powerOn();
  // Its plain half and its EFI half each ask once.
  const bound = async (): Promise<string[]> =>
    (await readFile(pc.consoleFile, 'latin1').catch(() => '')).match(/DHCP client bound to address \S+/g) ?? [];
  await until(async () => (await bound()).length >= 2, 'its two addresses', bootTimeoutMs);
  expect((await bound()).filter((line) => !/ 10\.78\.0\.1[0-5]\d$/.test(line))).toEqual([]);
  const said = (await lab.server.node('pc1')).boot?.events.map((event) => event.detail ?? '') ?? [];
  expect(said.length).toBeGreaterThanOrEqual(2);
  expect(said.filter((detail) => !detail.includes('silence'))).toEqual([]);
}

async function boot(lab: TestLab, run: (typeof runs)[number]): Promise<number> {
  await using pc = machine(lab, run);
  const happened = async (what: RegExp): Promise<boolean> =>
    (await lab.server.node('pc1')).boot?.events.some((event) => what.test(`${event.what} ${event.detail ?? ''}`)) ?? false;
  const unmask = run.model === 'bios-plain' ? await hideIpxe(lab) : undefined;
  const startedAt = performance.now();
  await pc.powerOn();
  try {
    if (unmask) {
      await until(() => happened(/file sent undionly\.kpxe/), 'undionly.kpxe to be fetched', bootTimeoutMs);
      await unmask();
    }
    await until(() => happened(/initramfs has an address/), 'our initramfs', bootTimeoutMs);
  } catch (cause) {
    const console = (await readFile(pc.consoleFile, 'latin1').catch(() => '')).slice(-2000);
    const log = (await serverLog(lab.server)).slice(-3000);
    throw new Error(`${run.title}, mode ${run.mode}, did not come to our initramfs.\nconsole: ${console}\nserver: ${log}`, { cause });
  }
  return (performance.now() - startedAt) / 1000;
}

/** What it said is what we say it is, and our codec loses none of it. */
async function checkRequests(pcap: string, classes: readonly string[]): Promise<void> {
  const requests = await dhcpRequests(pcap, mac);
  const seen: string[] = [];
  for (const bytes of requests) {
    const message = decodeDhcp(bytes);
    expect(encodeDhcp(message).toString('hex')).toBe(bytes.toString('hex'));
    const name = classifyClient(message)?.class ?? 'none';
    if (seen.at(-1) !== name) {
      seen.push(name);
    }
  }
  expect(seen).toEqual(classes);
}
