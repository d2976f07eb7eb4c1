/** What a failed mmdebstrap printed, as something that the recipe's author can act on. Pure text work. */
import { UserError } from '../domain/errors.ts';
import type { Architecture } from '../domain/image.ts';
import { reasonMark, stepMark } from './recipe/customize.ts';
import { kernelPackage, type Recipe } from './recipe/recipe.ts';

const linesShown = 8;

/** undefined when nothing of it is known: then the error says most as it is. */
export function readBootstrapFailure(lines: readonly string[], recipe: Recipe, arch: Architecture): UserError | undefined {
  return (
    noSpace(lines) ?? missingPackage(lines, recipe, arch) ?? failedStep(lines) ?? readMirrorFailure(lines, recipe.suite) ?? conflict(lines)
  );
}

function noSpace(lines: readonly string[]): UserError | undefined {
  const line = lines.find((text) => /No space left on device|You don't have enough free space/.test(text));
  return line === undefined ? undefined : new UserError('no-space', line.trim());
}

function missingPackage(lines: readonly string[], recipe: Recipe, arch: Architecture): UserError | undefined {
  const names = lines.flatMap((line) => {
    const found =
      /^E: Unable to locate package (\S+)/.exec(line) ??
      /^E: Package '?([^\s']+)'? has no installation candidate/.exec(line) ??
      /^E: Couldn't find any package by (?:glob|regex) '([^']+)'/.exec(line);
    return found?.[1] === undefined ? [] : [found[1]];
  });
  const missing = [...new Set(names)];
  if (missing.length === 0) {
    return undefined;
  }
  const list = missing.map((name) => `"${name}"`).join(', ');
  const key = missing.includes(kernelPackage(recipe, arch)) ? 'kernel' : 'packages';
  return new UserError('bad-input', `Debian ${recipe.suite} has no package ${list} for ${arch}`, {
    hint: `Correct it under ${key} in the recipe ${recipe.name}; apt-cache search finds names`,
  });
}

/** The recipe's own steps come last, so where one was begun, it is the one that failed. */
function failedStep(lines: readonly string[]): UserError | undefined {
  const begun = lines.findLastIndex((line) => line.startsWith(stepMark));
  const after = lines.slice(begun + 1);
  if (begun === -1 || after.some((line) => line.startsWith('E: ') && !/customize|run_hooks|\bhook\b|mmdebstrap/.test(line))) {
    return undefined;
  }
  const place = lines[begun]?.slice(stepMark.length) ?? '';
  const reason = after.find((line) => line.startsWith(reasonMark))?.slice(reasonMark.length);
  const said = after.filter((line) => line.trim() !== '' && !/^[EIW]: /.test(line)).slice(-linesShown);
  const detail = reason ?? (said.length > 0 ? `\n${said.join('\n')}` : 'it printed nothing');
  return new UserError('failed', `The recipe's ${place} failed: ${detail}`, {
    hint: 'Correct the recipe and build again; nothing half-made was kept',
  });
}

/** Any use of the mirror may fail in these ways. */
export function readMirrorFailure(lines: readonly string[], suite: string): UserError | undefined {
  const first = (pattern: RegExp): string | undefined =>
    lines
      .find((line) => pattern.test(line))
      ?.replace(/^\s*[EW]: /, '')
      .trim();
  // apt's last word on it names the file.
  const torn = first(/^E: .*(Mirror sync in progress|Hash Sum mismatch)/) ?? first(/Mirror sync in progress|Hash Sum mismatch/);
  if (torn !== undefined) {
    return new UserError('unavailable', `The Debian mirror of this machine contradicts itself: ${torn}`, {
      hint: 'It is in the middle of an update, or a proxy before it is stale: try again in an hour, or give apt another mirror of Debian',
    });
  }
  if (first(/does not have a Release file|^\s*404 +Not Found/) !== undefined) {
    return new UserError('bad-input', `The Debian mirror of this machine has no release "${suite}", or not all of it`, {
      hint: 'Correct the suite of the recipe, for example trixie',
    });
  }
  const unreachable = first(/Temporary failure resolving|Could not (connect|resolve)|Unable to connect|Connection (timed out|refused)/);
  return unreachable === undefined
    ? undefined
    : new UserError('unavailable', `The Debian mirror of this machine cannot be reached: ${unreachable}`, {
        hint: 'Does apt-get update work on this machine? Packages come from where apt gets them',
      });
}

function conflict(lines: readonly string[]): UserError | undefined {
  const from = lines.findIndex((line) => /The following packages have unmet dependencies/.test(line));
  if (from === -1) {
    return undefined;
  }
  const said = lines
    .slice(from + 1)
    .filter((line) => /^ /.test(line))
    .slice(0, linesShown);
  return new UserError('bad-input', `These packages of the recipe cannot be installed together:\n${said.join('\n')}`, {
    hint: 'Take one of them out of packages, or build from another suite',
  });
}
