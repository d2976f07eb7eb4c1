/** Files as Pi firmware asks for them, and its last stage: start.elf, start4.elf, or the EEPROM itself on a Pi 5. */
import { UserError } from '../domain/errors.ts';
import { type Board, type Booted, needed } from './board.ts';
import { type BootConfig, readConfigTxt } from './config-txt.ts';
import type { Fetched, TftpTiming } from './tftp-client.ts';
import { earlyTerminate, type TftpOption } from './tftp-wire.ts';

export interface FileStyle {
  readonly ask: readonly TftpOption[];
  readonly timing: TftpTiming;
  readonly noWrap: boolean;
  /** Filters of config.txt that the board matches. */
  readonly filters: readonly string[];
  readonly deviceTree: string;
  /** A Pi 5 asks for some names as `serial//name`. */
  readonly doubleSlashes: boolean;
}

export class PiFiles {
  readonly board: Board;
  readonly style: FileStyle;
  /** The serial's directory with its slash, or nothing when that has no files. */
  prefix: string;

  constructor(board: Board, style: FileStyle) {
    this.board = board;
    this.style = style;
    this.prefix = `${board.options.serial}/`;
  }

  async get(name: string): Promise<Fetched> {
    return await this.#fetch(name, false);
  }

  /** Existence and size: the first answer is enough, then "Early terminate" and the next port. */
  async probe(name: string): Promise<Fetched> {
    return await this.#fetch(name, true);
  }

  /** Most files are sized first and then read; one that is not there is asked for once. */
  async read(name: string): Promise<Fetched> {
    const probed = await this.probe(name);
    return probed.kind === 'missing' ? probed : await this.get(name);
  }

  async config(isProbedFirst: boolean): Promise<BootConfig> {
    const read = isProbedFirst ? await this.read('config.txt') : await this.get('config.txt');
    const facts = { models: this.style.filters, serial: this.board.options.serial };
    return readConfigTxt(read.kind === 'found' && read.bytes ? read.bytes : Buffer.alloc(0), facts);
  }

  async #fetch(name: string, isProbe: boolean): Promise<Fetched> {
    const { ask, timing, noWrap, doubleSlashes } = this.style;
    const slash = doubleSlashes && this.prefix !== '' && /^(config|cmdline)\.txt$|^overlays\//.test(name) ? '/' : '';
    const filename = `${this.prefix}${slash}${name}`;
    return await this.board.fetch(filename, { ask, timing, noWrap, strictDuplicates: true, ...(isProbe ? { probe: earlyTerminate } : {}) });
  }
}

/** From start.elf's first request to the kernel's last block (captures: PexMor/raspi-netboot; firmware#1605). */
export async function runStartElf(files: PiFiles): Promise<Booted> {
  await files.get('recovery.elf');
  await files.config(true);
  await files.get('dt-blob.bin');
  await files.get('recovery.elf');
  const config = await files.config(true);
  await files.get('bootcfg.txt');
  const deviceTree = await files.read(config.deviceTree ?? files.style.deviceTree);
  await files.read('overlays/overlay_map.dtb');
  await files.config(true);
  return await loadKernel(files, config, deviceTree, 'recovery8.img', 'armstub8.bin');
}

export async function loadKernel(
  files: PiFiles,
  config: BootConfig,
  deviceTree: Fetched,
  recovery: string | undefined,
  armstub: string,
): Promise<Booted> {
  const { board } = files;
  const overlays = new Map<string, Buffer>();
  for (const name of config.overlays) {
    const overlay = await files.read(`overlays/${name}.dtbo`);
    if (overlay.kind === 'found') {
      overlays.set(name, overlay.bytes ?? Buffer.alloc(0));
    }
  }
  const commandLine = needed(await files.read(config.cmdline), config.cmdline);
  const initramfs: Extract<Fetched, { kind: 'found' }>[] = [];
  for (const name of config.initramfs) {
    initramfs.push(needed(await files.read(name), name));
  }
  if (recovery !== undefined) {
    await files.get(recovery);
  }
  await files.probe(config.kernel);
  await files.get(armstub);
  const kernel = needed(await files.read(config.kernel), config.kernel);
  const tree = needed(deviceTree, files.style.deviceTree);
  checkCommandLine(board, commandLine.bytes);
  return {
    address: board.address,
    server: board.server,
    kernelBytes: kernel.size,
    initramfsBytes: initramfs.reduce((sum, part) => sum + part.size, 0),
    ...(board.options.keep
      ? {
          files: {
            kernel: kept(kernel),
            deviceTree: kept(tree),
            overlays,
            initramfs: Buffer.concat(initramfs.map(kept)),
            commandLine: `${firmwareArguments(board)} ${kept(commandLine).toString('latin1').trim()}`,
          },
        }
      : {}),
  };
}

/** The firmware takes one line of ASCII. */
function checkCommandLine(board: Board, bytes: Buffer | undefined): void {
  const text = bytes?.toString('latin1').trimEnd() ?? '';
  if (/[^\x20-\x7e]/.test(text)) {
    board.complain('cmdline.txt is not one line of ASCII');
  }
}

/** The firmware tells the kernel's network driver its MAC. */
function firmwareArguments(board: Board): string {
  return `smsc95xx.macaddr=${board.options.mac.toUpperCase()} vc_mem.mem_base=0x3ec00000 vc_mem.mem_size=0x40000000`;
}

function kept(file: Extract<Fetched, { kind: 'found' }>): Buffer {
  if (!file.bytes) {
    throw new UserError('failed', 'A file was not kept');
  }
  return file.bytes;
}
