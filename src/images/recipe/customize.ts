/**
 * What a recipe does to a tree whose packages are installed, as one shell script for mmdebstrap's customize hook. All of
 * it happens inside the tree: a link in there must not lead a write to this machine's own files.
 */
import type { PlacedFile, Recipe } from './recipe.ts';
import type { RecipeUser } from './schema.ts';

/** Printed before each step, with its place in the recipe. */
export const stepMark = 'cardless step: ';
/** Printed before the reason where a step can say it better than the program that fails. */
export const reasonMark = 'cardless reason: ';

export interface Customization {
  readonly script: string;
  /** What the script reads: names beside it, and their content. */
  readonly inputs: ReadonlyMap<string, PlacedFile['from']>;
}

/** Secrets that packages draw when they are installed: another one in each build, and the same one on every node. */
const drawnByPackages = ['/etc/ssh/ssh_host_*', '/etc/munge/munge.key', '/etc/ssl/private/ssl-cert-snakeoil.key'];

const head = `#!/bin/sh
# usage: customize.sh TREE
set -eu
tree=$1
inputs=\${0%/*}
export HOME=/root LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

inside() {
    chroot "$tree" "$@"
}

# put MODE OWNER PATH: stdin becomes the file.
put() {
    inside /bin/sh -eu -c 'mkdir -p "\${3%/*}/"; rm -f "$3"; cat >"$3"; chown "$2" "$3"; chmod "$1" "$3"' put "$@"
}

fail() {
    echo "${reasonMark}$*" >&2
    exit 1
}

inside /bin/sh -c 'rm -f ${drawnByPackages.join(' ')}'
`;

export function customization(recipe: Recipe): Customization {
  const inputs = new Map<string, PlacedFile['from']>();
  const steps = [
    ...recipe.users.flatMap((user, index) => step(`user ${user.name}`, userLines(user, `keys-${index}`, inputs))),
    ...recipe.files.flatMap((file, index) => step(`file ${file.path}`, fileLines(file, `file-${index}`, inputs))),
    ...(recipe.locale === undefined ? [] : step(`locale ${recipe.locale}`, localeLines(recipe.locale))),
    ...(recipe.timeZone === undefined ? [] : step(`time zone ${recipe.timeZone}`, timeZoneLines(recipe.timeZone))),
    ...recipe.commands.flatMap((command) =>
      step(`command ${firstLine(command)}`, [`inside /bin/sh -e -c ${quoteShell(command)} </dev/null`]),
    ),
    ...(['enabled', 'disabled', 'masked'] as const).flatMap((kind) =>
      recipe.services[kind].flatMap((unit) => step(`service ${unit}`, serviceLines(kind, unit))),
    ),
  ];
  return { script: `${head}${steps.join('\n')}\n`, inputs };
}

export function quoteShell(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function step(place: string, lines: readonly string[]): string[] {
  return [`echo ${quoteShell(`${stepMark}${place}`)}`, ...lines];
}

function firstLine(text: string): string {
  const [line = '', ...others] = text.trim().split('\n');
  return others.length > 0 ? `${line} ...` : line;
}

function userLines(user: RecipeUser, keysFile: string, inputs: Map<string, PlacedFile['from']>): string[] {
  const { name, uid, groups = [], shell, sudo, authorizedKeys = [], passwordHash } = user;
  const said = [
    ...(shell === undefined ? [] : ['--shell', quoteShell(shell)]),
    ...(passwordHash === undefined ? [] : ['--password', quoteShell(passwordHash)]),
  ];
  // "*" is no password's hash, and unlike "!" it does not make sshd refuse keys as well.
  const defaults = [...(shell === undefined ? ['--shell', '/bin/bash'] : []), ...(passwordHash === undefined ? ["--password '*'"] : [])];
  const created = [...(uid === undefined ? [] : ['--uid', String(uid)]), ...said, ...defaults].join(' ');
  const group = `$(inside id -gn ${name})`;
  const home = `"$(inside getent passwd ${name} | cut -d: -f6)"`;
  if (authorizedKeys.length > 0) {
    inputs.set(keysFile, { content: `${authorizedKeys.join('\n')}\n` });
  }
  return [
    ...(shell === undefined
      ? []
      : [
          `inside test -x ${quoteShell(shell)} || fail ${quoteShell(`there is no shell ${shell}; is the package that has it in packages?`)}`,
        ]),
    ...groups.map(
      (wanted) =>
        `inside getent group ${wanted} >/dev/null || fail ${quoteShell(`there is no group "${wanted}"; is the package that makes it in packages?`)}`,
    ),
    `if inside id ${name} >/dev/null 2>&1; then`,
    `    ${said.length > 0 ? `inside usermod ${said.join(' ')} ${name}` : ':'}`,
    'else',
    `    inside useradd --create-home --user-group ${created} ${name}`,
    'fi',
    ...(groups.length > 0 ? [`inside usermod --append --groups ${groups.join(',')} ${name}`] : []),
    ...(authorizedKeys.length > 0
      ? [
          `home=${home}`,
          `inside install -d -m 0700 -o ${name} -g "${group}" "$home/.ssh"`,
          `put 0600 "${name}:${group}" "$home/.ssh/authorized_keys" <"$inputs/${keysFile}"`,
        ]
      : []),
    ...(sudo ? [`echo '${name} ALL=(ALL:ALL) NOPASSWD: ALL' | put 0440 root:root /etc/sudoers.d/90-${name}`] : []),
  ];
}

function fileLines(file: PlacedFile, name: string, inputs: Map<string, PlacedFile['from']>): string[] {
  inputs.set(name, file.from);
  return [`put ${file.mode} ${file.owner} ${quoteShell(file.path)} <"$inputs/${name}"`];
}

function localeLines(locale: string): string[] {
  const setting = [`echo LANG=${locale} | put 0644 root:root /etc/locale.conf`, 'inside ln -sfn ../locale.conf /etc/default/locale'];
  if (locale === 'C.UTF-8') {
    return setting;
  }
  const definition = locale.replace('.UTF-8', '');
  return [
    `inside test -e /usr/share/i18n/locales/${definition} || fail ${quoteShell(`there is no locale ${locale} in the package locales`)}`,
    `echo '${locale} UTF-8' | put 0644 root:root /etc/locale.gen`,
    'inside locale-gen',
    ...setting,
  ];
}

function timeZoneLines(timeZone: string): string[] {
  const file = `/usr/share/zoneinfo/${timeZone}`;
  return [
    `inside test -f ${file} || fail ${quoteShell(`there is no time zone ${timeZone} in the package tzdata`)}`,
    `inside ln -sfn ${file} /etc/localtime`,
    `echo ${timeZone} | put 0644 root:root /etc/timezone`,
  ];
}

function serviceLines(kind: 'enabled' | 'disabled' | 'masked', unit: string): string[] {
  const verb = { enabled: 'enable', disabled: 'disable', masked: 'mask' }[kind];
  return [
    `inside test -x /usr/bin/systemctl || fail ${quoteShell(`services need systemd in packages`)}`,
    `inside systemctl ${verb} -- ${quoteShell(unit)}`,
  ];
}
