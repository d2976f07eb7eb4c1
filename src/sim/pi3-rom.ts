/**
 * A Raspberry Pi 2B v1.2, 3B, 3B+ or CM3 from power-on to the kernel's first instruction: mask ROM, bootcode.bin and
 * start.elf, each with the requests that the real one sends (captures of raspberrypi/firmware#1041 and #1605).
 */
import { type Board, type Booted, needed } from './board.ts';
import type { Pi3Model, RomQuirks } from './models.ts';
import { type Lease, offerOnlyDhcp } from './pi-dhcp.ts';
import { PiFiles, runStartElf } from './start-elf.ts';

const romAttempts = 5;
const bootcodeAttempts = 12;
/** bootcode.bin's outer timeout since 2018-10 (raspberrypi/firmware#1041); a file that takes longer counts as absent. */
const silenceMs = 5000;

/** bootcode.bin has none of the ROM's bugs. */
const noQuirks: RomQuirks = {
  hidesSerial: false,
  needsLaterFrame: false,
  threeSpaces: false,
  hopsCheck: false,
  lockupOnDualMs: 0,
  arpUntilTransfer: false,
};

/** @throws UserError unavailable when no server answers, failed when a file that it needs is missing */
export async function bootPi3(board: Board, model: Pi3Model): Promise<Booted> {
  if (model.rom) {
    await runRom(board, model.rom);
  }
  await useLease(board, await offerOnlyDhcp(board, 'bootcode', noQuirks, bootcodeAttempts));
  const files = new PiFiles(board, {
    ask: [['tsize', '0']],
    timing: { silenceMs },
    noWrap: false,
    filters: model.filters,
    deviceTree: model.deviceTree,
    doubleSlashes: false,
  });
  await runBootcode(files);
  return await runStartElf(files);
}

/** No TFTP options, no prefix. */
async function runRom(board: Board, quirks: RomQuirks): Promise<void> {
  await useLease(board, await offerOnlyDhcp(board, 'rom', quirks, romAttempts));
  board.network.answerArp?.(!quirks.arpUntilTransfer);
  const plain = { ask: [], timing: { silenceMs }, noWrap: false, strictDuplicates: true } as const;
  needed(await board.fetch('bootcode.bin', plain), 'bootcode.bin');
  await board.fetch('bootsig.bin', plain);
  board.network.answerArp?.(true);
}

async function runBootcode(files: PiFiles): Promise<void> {
  if ((await files.probe('start.elf')).kind === 'missing') {
    // Every later name is then at the root (boot-net.adoc).
    files.prefix = '';
  }
  await files.probe('start.elf');
  await files.get('autoboot.txt');
  await files.config(false);
  await files.get('recovery.elf');
  needed(await files.get('start.elf'), 'start.elf');
  needed(await files.get('fixup.dat'), 'fixup.dat');
}

export async function useLease(board: Board, lease: Lease): Promise<void> {
  await board.network.setAddress(lease.yiaddr, lease.mask);
  board.address = lease.yiaddr;
  board.server = lease.server;
}
