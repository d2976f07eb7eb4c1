/** config.txt as start.elf reads it (raspberrypi/documentation, conditional.adoc), as far as the boot needs it. */

export interface BoardFacts {
  /** Filter names that this board matches, for example pi3 and pi3+. */
  readonly models: readonly string[];
  /** Eight hex digits. */
  readonly serial: string;
}

export interface BootConfig {
  readonly kernel: string;
  readonly initramfs: readonly string[];
  readonly cmdline: string;
  readonly deviceTree?: string;
  /** Names of overlays, without parameters. */
  readonly overlays: readonly string[];
}

/** Filters of one kind replace one another, filters of different kinds must all hold, [all] resets. */
export function readConfigTxt(bytes: Buffer, board: BoardFacts): BootConfig {
  const values = new Map<string, string>();
  const overlays: string[] = [];
  const initramfs: string[] = [];
  let filters = new Map<string, boolean>();
  for (const line of asciiLines(bytes)) {
    const filter = /^\[(.+)\]$/.exec(line)?.[1];
    if (filter !== undefined) {
      filters = applyFilter(filters, filter, board);
    } else if (![...filters.values()].includes(false)) {
      const ramfs = /^initramfs\s+(\S+)\s+followkernel$/.exec(line)?.[1];
      const [key = '', ...rest] = line.split('=');
      const value = rest.join('=');
      if (ramfs !== undefined) {
        initramfs.push(...ramfs.split(','));
      } else if (key === 'dtoverlay') {
        overlays.push(value.split(/[,:]/)[0] ?? value);
      } else if (value !== '') {
        values.set(key, value);
      }
    }
  }
  const deviceTree = values.get('device_tree');
  return {
    kernel: values.get('kernel') ?? (values.get('arm_64bit') === '1' ? 'kernel8.img' : 'kernel7.img'),
    initramfs,
    cmdline: values.get('cmdline') ?? 'cmdline.txt',
    overlays: overlays.filter((name) => name !== ''),
    ...(deviceTree === undefined ? {} : { deviceTree }),
  };
}

/** The firmware stops at the first byte that is not ASCII and drops the rest without a word. */
function asciiLines(bytes: Buffer): string[] {
  const end = bytes.findIndex((byte) => byte > 0x7e);
  const text = bytes.toString('latin1', 0, end === -1 ? bytes.length : end);
  return text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '' && !line.startsWith('#'));
}

function applyFilter(filters: ReadonlyMap<string, boolean>, filter: string, board: BoardFacts): Map<string, boolean> {
  if (filter === 'all') {
    return new Map();
  }
  const next = new Map(filters);
  if (/^0x[0-9a-f]+$/i.test(filter)) {
    return next.set('serial', Number.parseInt(filter, 16) === Number.parseInt(board.serial, 16));
  }
  if (/^(pi|cm)\d/.test(filter)) {
    return next.set('model', board.models.includes(filter));
  }
  // [none], and the conditions that this board does not fulfil: [tryboot], [gpio4=1], [EDID=...], ...
  return next.set(filter.split('=')[0] ?? filter, false);
}
