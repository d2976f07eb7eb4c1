/** Real guests for e2e-qemu: a lab whose server has the images that the demo boots. */
import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { DemoServer } from '#src/cli/demo/demo-server.ts';
import { waitReady } from '#src/cli/demo/wait-ready.ts';
import type { NodeView } from '#src/cli/node/node-view.ts';
import { findPlaces } from '#src/config/places.ts';
import { systemClock } from '#src/daemon/system-clock.ts';
import { parseMac } from '#src/domain/mac.ts';
import { parseSerial } from '#src/domain/serial.ts';
import { VirtualPc } from '#src/sim/machines.ts';
import type { TestLab } from './lab-server.ts';

export const pcSerial = '5f0c2a4e-7d1b-4e9a-8c36-2b90d4a17e55';
export const pcMac = '52:54:00:12:34:56';
const bootTimeoutMs = 10 * 60_000;

export const realImages: string = findPlaces({ env: {} }).images;

export async function useRealImages(lab: TestLab): Promise<void> {
  await symlink(realImages, join(lab.state, 'images'));
}

export function virtualPc(lab: TestLab): VirtualPc {
  return new VirtualPc({
    lab: lab.lab,
    clock: systemClock,
    mac: parseMac(pcMac),
    serial: parseSerial(pcSerial),
    directory: join(lab.state, 'pc'),
    onLine: () => {},
  });
}

export async function ready(server: DemoServer, name: string, machine: VirtualPc, after?: string): Promise<NodeView> {
  return await waitReady({
    server,
    name,
    after,
    timeoutMs: bootTimeoutMs,
    consoleFile: machine.consoleFile,
    signal: new AbortController().signal,
  });
}
