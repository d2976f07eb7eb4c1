/** What an import found and changed, for people and programs. */
import type { Architecture, ImageKernel } from '../../domain/image.ts';

export interface ImportReport {
  /** Without folders: those of the server's machine are nobody's business. */
  readonly source: string;
  /** For example "disk image (xz)". */
  readonly kind: string;
  readonly arch: Architecture;
  /** PRETTY_NAME of os-release. */
  readonly system: string;
  readonly kernels: readonly ImageKernel[];
  readonly skippedKernels: readonly { readonly file: string; readonly reason: string }[];
  readonly changes: readonly ReportedChange[];
  readonly configTxt: { readonly kept: readonly string[]; readonly dropped: readonly string[] };
  /** Of cmdline.txt: the server gives the kernel its own. */
  readonly droppedArguments: readonly string[];
  readonly notes: readonly string[];
}

export interface ReportedChange {
  readonly rule: string;
  readonly reason: string;
  readonly path: string;
  readonly what: string;
}

/** Lines for a terminal. */
export function reportText(report: ImportReport): string {
  const rules = [...new Set(report.changes.map(({ rule }) => rule))];
  const changes = rules.flatMap((rule) => {
    const own = report.changes.filter((change) => change.rule === rule);
    return [`  ${rule}: ${own[0]?.reason ?? ''}`, ...own.map(({ path, what }) => `    /${path}: ${what}`)];
  });
  return [
    `${report.system} for ${report.arch}, from ${report.source} (${report.kind})`,
    ...part('Kernels', [
      ...report.kernels.map(({ file, version, initramfs }) => `${file}: ${version}, starts with ${initramfs}`),
      ...report.skippedKernels.map(({ file, reason }) => `${file} was left out: ${reason}`),
    ]),
    ...(changes.length === 0 ? ['Nothing had to be changed.'] : ['Changed for a network root:', ...changes]),
    ...part('config.txt, kept', report.configTxt.kept),
    ...part('config.txt, dropped', report.configTxt.dropped),
    ...part('Kernel arguments, dropped', report.droppedArguments),
    ...part('Notes', report.notes),
  ].join('\n');
}

function part(title: string, lines: readonly string[]): string[] {
  return lines.length === 0 ? [] : [`${title}:`, ...lines.map((line) => `  ${line}`)];
}
