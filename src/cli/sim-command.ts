import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { systemClock } from '../daemon/system-clock.ts';
import { UserError } from '../domain/errors.ts';
import { parseMac } from '../domain/mac.ts';
import { isPiSerial, parseSerial } from '../domain/serial.ts';
import { bootFileNames } from '../sim/boot-files.ts';
import { hostNetwork } from '../sim/host-network.ts';
import { bootPi3, type PiBoot, type SimEvent } from '../sim/pi3-rom.ts';
import { type Context, requireRoot } from './context.ts';
import { bytes } from './format.ts';

export function addSimCommand(program: Command, contextOf: () => Context): void {
  program
    .command('sim')
    .description('hold the conversation of a board that boots, without the board')
    .requiredOption('--interface <name>', "the board's own network interface; it loses its addresses")
    .requiredOption('--serial <serial>', 'serial number of the board')
    .option('--mac <mac>', 'MAC address (default: b8:27:eb and the end of the serial)')
    .option('--model <model>', 'pi3b+', 'pi3b+')
    .option('--out <folder>', 'write what the board fetched: kernel, initramfs, device tree, command line')
    .addHelpText(
      'after',
      '\nRun it in a network namespace, for example:\n  sudo ip netns exec lab ./cardless sim --interface veth0 --serial 91cdf03d',
    )
    .action(async (options: { interface: string; serial: string; mac?: string; model: string; out?: string }) => {
      const context = contextOf();
      if (options.model !== 'pi3b+') {
        throw new UserError('bad-input', `There is no simulated model "${options.model}"`, { hint: 'One of: pi3b+' });
      }
      const serial = parseSerial(options.serial);
      if (!isPiSerial(serial)) {
        throw new UserError('bad-input', `"${options.serial}" is the serial of a PC`, {
          hint: 'A Pi has 8 hex digits, for example 91cdf03d',
        });
      }
      requireRoot('Simulating a board');
      const mac = parseMac(options.mac ?? `b827eb${serial.slice(2)}`);
      const startedAt = systemClock.now();
      const onEvent = (event: SimEvent): void => context.print(context.json ? JSON.stringify(event) : eventText(event));
      const boot = await bootPi3({ mac, serial, network: hostNetwork(options.interface, systemClock), onEvent, signal: context.signal });
      if (options.out !== undefined) {
        await writeBoot(boot, options.out);
      }
      const { address, server, complaints, kernel, initramfs } = boot;
      const result = {
        kind: 'result',
        address,
        server,
        complaints,
        kernelBytes: kernel.length,
        initramfsBytes: initramfs.length,
        seconds: (systemClock.now() - startedAt) / 1000,
      };
      context.print(context.json ? JSON.stringify(result) : `ready to run the kernel after ${result.seconds.toFixed(1)} s`);
      if (complaints.length > 0) {
        throw new UserError('failed', `Real firmware would have choked on this server:\n  ${complaints.join('\n  ')}`);
      }
    });
}

async function writeBoot(boot: PiBoot, folder: string): Promise<void> {
  await mkdir(folder, { recursive: true });
  await writeFile(join(folder, bootFileNames.kernel), boot.kernel);
  await writeFile(join(folder, bootFileNames.initramfs), boot.initramfs);
  await writeFile(join(folder, bootFileNames.deviceTree), boot.deviceTree);
  await writeFile(join(folder, bootFileNames.commandLine), boot.commandLine);
  for (const [name, overlay] of boot.overlays) {
    await writeFile(join(folder, `${name}.dtbo`), overlay);
  }
}

function eventText(event: SimEvent): string {
  switch (event.kind) {
    case 'discover':
      return `${event.stage}: DHCP DISCOVER, attempt ${event.attempt}`;
    case 'offer':
      return `${event.stage}: address ${event.address}, files from ${event.server}`;
    case 'file':
      return `${event.name}: ${event.result === 'found' ? `${bytes(event.bytes)} in ${event.ms} ms` : event.result === 'probed' ? 'is there' : 'not there'}`;
    default:
      return event satisfies never;
  }
}
