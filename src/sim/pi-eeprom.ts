/** A Raspberry Pi 4 or 5 and its relatives: boot loader in EEPROM, then start4.elf (not on a Pi 5), to the kernel's last block. */
import { messageOf, UserError } from '../domain/errors.ts';
import { type Board, type Booted, needed } from './board.ts';
import type { EepromModel } from './models.ts';
import { eepromDhcp, eepromGuid } from './pi-dhcp.ts';
import { useLease } from './pi3-rom.ts';
import { loadKernel, PiFiles, runStartElf } from './start-elf.ts';

/** Link up after power (piPXE README). */
const linkMs = 3000;
/** DHCP_REQ_TIMEOUT and DHCP_TIMEOUT, TFTP_FILE_TIMEOUT (eeprom-bootloader.adoc). */
const dhcpTiming = { resendMs: 4000, totalMs: 45_000 };
const fileTimeoutMs = 30_000;
const requestEveryMs = 2000;
/** After a failure, before the next attempt of the network mode (2711 release notes 2020-06-03). */
const retryMs = 5000;
/** NET_BOOT_MAX_RETRIES; then the next mode of BOOT_ORDER would have its turn. */
const maxRetries = 3;

/** @throws UserError as the last attempt failed */
export async function bootEeprom(board: Board, model: EepromModel): Promise<Booted> {
  await board.wait(linkMs);
  for (;;) {
    try {
      return await attempt(board, model);
    } catch (error) {
      if (!(error instanceof UserError) || error.code === 'cancelled' || board.restarts >= maxRetries) {
        throw error;
      }
      board.beginAgain(messageOf(error));
      await board.wait(retryMs);
    }
  }
}

async function attempt(board: Board, model: EepromModel): Promise<Booted> {
  const { mac, serial } = board.options;
  await useLease(board, await eepromDhcp(board, eepromGuid(model.fourcc, model.revision, mac, serial), dhcpTiming));
  const fileMs = board.options.fileTimeoutMs ?? fileTimeoutMs;
  const files = new PiFiles(board, {
    ask: [
      ['tsize', '0'],
      ['blksize', String(model.blksize)],
    ],
    timing: { requestEveryMs, silenceMs: fileMs, fileMs },
    noWrap: model.noWrap,
    filters: model.filters,
    deviceTree: model.deviceTree,
    doubleSlashes: model.family === 5,
  });
  return model.family === 5 ? await runPi5(files) : await runPi4(files);
}

/** Order of the piPXE log and of raspberrypi/rpi-eeprom#74. */
async function runPi4(files: PiFiles): Promise<Booted> {
  const isThere = async (name: string): Promise<boolean> => (await files.probe(name)).kind !== 'missing';
  if (!(await isThere('start4.elf')) && !(await isThere('start.elf'))) {
    files.prefix = '';
  }
  await files.config(false);
  await files.get('pieeprom.sig');
  await files.get('recover4.elf');
  await files.get('recovery.elf');
  needed(await files.get('start4.elf'), 'start4.elf');
  needed(await files.get('fixup4.dat'), 'fixup4.dat');
  return await runStartElf(files);
}

/** No start*.elf and no fixup*.dat: they are in the EEPROM (raspberrypi/rpi-eeprom#826). */
async function runPi5(files: PiFiles): Promise<Booted> {
  if ((await files.probe('config.txt')).kind === 'missing') {
    files.prefix = '';
  }
  const config = await files.config(false);
  await files.get('pieeprom.sig');
  const deviceTree = await files.read(files.style.deviceTree);
  await files.read('overlays/overlay_map.dtb');
  return await loadKernel(files, config, deviceTree, undefined, 'armstub8-2712.bin');
}
