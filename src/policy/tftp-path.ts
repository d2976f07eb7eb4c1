/** What a board means by a file name (pi-netboot A.3 "Name normalisation"). */
import { type Mac, parseMac } from '../domain/mac.ts';
import { parseSerial, type Serial } from '../domain/serial.ts';

export type TftpPath =
  | { readonly kind: 'path'; readonly serial?: Serial; readonly mac?: Mac; readonly path: string }
  | { readonly kind: 'refused'; readonly reason: string };

/** No boot client asks for longer names; the 512 bytes of an RRQ hold no more anyway. */
const maxNameBytes = 255;

/** Where other TFTP servers keep their tree; a few clients ask with the whole path (ltsp/ltsp#751). */
const knownRoots = ['srv/tftp', 'var/lib/tftpboot', 'var/lib/tftp', 'tftpboot'];

/**
 * Splits the node's directory from the path. TFTP_PREFIX of a Pi's EEPROM makes it `<8 hex>/` (0), any text of the operator's
 * (1) or `<mac with dashes>/` (2). Leading and doubled slashes are dropped (a Pi 5 asks `serial//name`), backslashes become
 * slashes, and anything that could leave the tree is refused rather than repaired.
 * @param prefixes the texts of TFTP_PREFIX_STR that operators use
 */
export function readTftpPath(filename: string, prefixes: readonly string[] = []): TftpPath {
  if (filename.length === 0 || filename.length > maxNameBytes) {
    return { kind: 'refused', reason: 'name is empty or too long' };
  }
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are what is looked for
  if (/[\u0000-\u001f\u007f-\u00ff]/.test(filename)) {
    return { kind: 'refused', reason: 'name is not printable ASCII' };
  }
  const parts = slashed(filename).split('/');
  if (parts[0] === '' || parts.some((part) => part === '.' || part === '..')) {
    return { kind: 'refused', reason: 'name leaves the tree' };
  }
  const path = withoutPrefix(parts.join('/'), [...prefixes.map(slashed), ...knownRoots]);
  const [first = '', ...rest] = path.split('/');
  if (rest.length > 0 && /^([0-9a-f]{8}|[0-9a-f]{16})$/i.test(first)) {
    return { kind: 'path', serial: parseSerial(first), path: rest.join('/') };
  }
  if (rest.length > 0 && /^[0-9a-f]{2}(-[0-9a-f]{2}){5}$/i.test(first)) {
    return { kind: 'path', mac: parseMac(first), path: rest.join('/') };
  }
  return { kind: 'path', path };
}

function slashed(name: string): string {
  return name
    .replaceAll('\\', '/')
    .split('/')
    .filter((part) => part !== '')
    .join('/');
}

function withoutPrefix(path: string, prefixes: readonly string[]): string {
  const found = prefixes.find((prefix) => prefix !== '' && path.toLowerCase().startsWith(`${prefix.toLowerCase()}/`));
  return found === undefined ? path : path.slice(found.length + 1);
}

const missingByDesign = [
  /^bootsig\.bin$/,
  /^boot\.sig$/,
  /^autoboot\.txt$/,
  /^recovery.*\.(elf|img)$/,
  /^recover4\.elf$/,
  /^dt-blob\.bin$/,
  /^bootcfg\.txt$/,
  /^armstub.*\.bin$/,
  /^pieeprom\.(sig|upd)$/,
  /^vl805\.(sig|bin)$/,
  /^overlays\/(overlay_map\.dtb|README)$/,
  /^kernel8-32\.img$/,
  /^tryboot\.txt$/,
  /^fixup.*rc\.dat$/,
  // iPXE: a script beside itself.
  /^autoexec\.ipxe$/,
  // GRUB: modules, which a signed one has built in, and configurations by address and MAC; shim's optional lists.
  /^(grub|programs)\/.*\.(lst|cfg-[0-9A-F]+|cfg-01-[0-9a-f-]+|pf2|mo|gmo|mod)$/,
  /^(revocations(_sbat|_sku)?|shim_certificate(_\d+)?)\.efi$/,
  // U-Boot: its address as a file name, a script, configurations by other names than its MAC, device trees of boards that the image does not know.
  /^[0-9A-F]{8}\.img$/,
  /^boot\.scr\.uimg$/,
  /^pxelinux\.cfg\//,
  /^dtbs?(\/|$)/,
];

/** Files that firmware asks for without needing them: their absence is no news. */
export function isExpectedMissing(path: string): boolean {
  return missingByDesign.some((pattern) => pattern.test(path));
}
