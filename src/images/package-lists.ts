/** Lists of installed packages: pure text work. */
import type { InstalledPackage } from '../domain/image-contents.ts';

/** /var/lib/dpkg/status (dpkg 1.21, deb-control(5)): paragraphs of `Key: value`. What was removed is listed there as well. */
export function readDpkgStatus(text: string): InstalledPackage[] {
  return sorted(
    paragraphs(text).flatMap((lines) => {
      const of = (name: string): string | undefined => field(lines, `${name}: `);
      const [name, version, arch] = [of('Package'), of('Version'), of('Architecture')];
      const isInstalled = of('Status')?.endsWith(' installed') === true;
      return !isInstalled || name === undefined || version === undefined
        ? []
        : [{ name: of('Multi-Arch') === 'same' && arch !== undefined ? `${name}:${arch}` : name, version }];
    }),
  );
}

/** /lib/apk/db/installed: paragraphs of `P:name` and `V:version`. */
export function readApkInstalled(text: string): InstalledPackage[] {
  return sorted(
    paragraphs(text).flatMap((lines) => {
      const [name, version] = [field(lines, 'P:'), field(lines, 'V:')];
      return name === undefined || version === undefined ? [] : [{ name, version }];
    }),
  );
}

function paragraphs(text: string): string[][] {
  return text.split(/\n\n+/).map((paragraph) => paragraph.split('\n'));
}

function field(lines: readonly string[], prefix: string): string | undefined {
  return lines.find((line) => line.startsWith(prefix))?.slice(prefix.length);
}

function sorted(packages: InstalledPackage[]): InstalledPackage[] {
  return packages.toSorted((a, b) => (a.name < b.name ? -1 : Number(a.name > b.name)));
}
