/** /etc/fstab as fstab(5) has it. Pure. */

export interface FstabLine {
  readonly device: string;
  readonly mountPoint: string;
  readonly type: string;
  readonly options: string;
}

export function parseFstab(text: string): FstabLine[] {
  return text.split('\n').flatMap((line) => parseLine(line) ?? []);
}

function parseLine(line: string): FstabLine | undefined {
  const [device = '', mountPoint, type = '', options = ''] = line.trim().split(/\s+/);
  return device === '' || device.startsWith('#') || mountPoint === undefined ? undefined : { device, mountPoint, type, options };
}

/** File systems that need no disk of the board. */
const diskless = ['tmpfs', 'proc', 'sysfs', 'devpts', 'debugfs', 'tracefs', 'nfs', 'nfs4', 'cifs', 'overlay', 'fuse', '9p', 'configfs'];

/** Keeps what a board without a disk can mount; the rest become comments. */
export function withoutDisks(text: string): { readonly text: string; readonly dropped: readonly string[] } {
  const dropped: string[] = [];
  const lines = text.split('\n').map((line) => {
    const entry = parseLine(line);
    const isBind = entry !== undefined && /(^|,)r?bind(,|$)/.test(entry.options);
    if (!entry || (entry.mountPoint !== '/' && (diskless.includes(entry.type) || isBind))) {
      return line;
    }
    dropped.push(line.trim().replaceAll(/\s+/g, ' '));
    return `# not on a network root: ${line}`;
  });
  return { text: lines.join('\n'), dropped };
}
