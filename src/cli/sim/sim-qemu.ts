/** A simulated board that goes on into a guest: QEMU starts with the bytes that were fetched, or with the real firmware. */
import { join } from 'node:path';
import { systemClock } from '../../daemon/system-clock.ts';
import { UserError } from '../../domain/errors.ts';
import type { Identity } from '../../sim/identities.ts';
import type { Lab } from '../../sim/lab.ts';
import { type Machine, type MachineOptions, VirtualPi3 } from '../../sim/machines.ts';
import { missingFirmware, PcMachine, type PcModelName } from '../../sim/pc-machines.ts';
import type { Context } from '../context.ts';
import type { DemoServer } from '../demo/demo-server.ts';
import { waitReady } from '../demo/wait-ready.ts';
import { timeline } from '../node/node-view.ts';
import type { SimPlan } from './sim-options.ts';

const bootTimeoutMs = 15 * 60_000;

/** A simulated PC becomes a virtual one with the firmware that it imitates. */
const realFirmware: Readonly<Record<string, PcModelName>> = {
  'pc-bios': 'bios-plain',
  ipxe: 'bios-virtio',
  'pc-uefi': 'ovmf-pxe',
  'uefi-http': 'ovmf-http',
  'u-boot': 'u-boot-efi',
};

/** @throws UserError bad-input when QEMU has no such machine, or several are wanted */
export function assertRunsInQemu({ model, boards }: SimPlan): void {
  if (model.firmware !== 'pi3' && realFirmware[model.name] === undefined) {
    throw new UserError('bad-input', `QEMU has no machine like a ${model.title} with a network`, {
      hint: `With --qemu: pi3b, pi3b+, bootcode-sd, ${Object.keys(realFirmware).join(', ')}`,
    });
  }
  if (boards.length !== 1) {
    throw new UserError('bad-input', `--qemu boots one board, not ${boards.length}`, { hint: 'Leave out --count' });
  }
}

/** Boots the only board until it is ready; the timeline is the result. */
export async function playInQemu(context: Context, plan: SimPlan, lab: Lab, server: DemoServer, name: string): Promise<void> {
  const [board] = plan.boards;
  if (!board) {
    return;
  }
  const directory = join(server.places.state, 'guest');
  const startedAt = Date.now();
  await using machine = await machineOf(plan, board, { lab, directory, context });
  await machine.powerOn();
  context.note(`powered on ${plan.model.title}; its console: ${machine.consoleFile}`);
  const { consoleFile } = machine;
  const node = await waitReady({ server, name, after: undefined, timeoutMs: bootTimeoutMs, consoleFile, signal: context.signal });
  const readySeconds = (Date.now() - startedAt) / 1000;
  const result = { ok: true, model: plan.model.name, serial: board.serial, mac: board.mac, address: node.address, readySeconds };
  context.print(context.json ? JSON.stringify({ ...result, boot: node.boot }) : `${node.boot ? timeline(node.boot) : ''}`);
}

async function machineOf(
  plan: SimPlan,
  { serial, mac }: Identity,
  where: { lab: Lab; directory: string; context: Context },
): Promise<Machine> {
  const { lab, directory, context } = where;
  const options: MachineOptions = { lab, directory, clock: systemClock, mac, serial, onLine: context.note };
  const pc = realFirmware[plan.model.name];
  if (pc === undefined) {
    return new VirtualPi3({ ...options, model: plan.model.name });
  }
  const missing = await missingFirmware(pc);
  if (missing.length > 0) {
    throw new UserError('not-found', `The firmware ${missing.join(', ')} is not on this machine`, {
      hint: 'sudo ./cardless setup test installs it',
    });
  }
  return new PcMachine({ ...options, model: pc });
}
