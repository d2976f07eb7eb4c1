/** Who may use a node and how it speaks to them: users, time zone, locale, keyboard. */
import type { Node } from '../domain/node.ts';
import type { NodeSettings } from '../domain/node-settings.ts';
import type { SettingsProblem } from './render-files.ts';
import type { SeedFile } from './seed-file.ts';

/** sshd looks here besides ~/.ssh: a home may be anywhere, and belongs to its user. */
export const userKeysDirectory = 'etc/cardless/keys';

export function peopleFiles({ settings }: Node): SeedFile[] {
  return [...userKeys(settings), ...sudoers(settings), ...timeZone(settings), ...locale(settings), ...keyboard(settings)];
}

function userKeys({ users = [] }: NodeSettings): SeedFile[] {
  return users
    .filter(({ authorizedKeys = [] }) => authorizedKeys.length > 0)
    .map(({ name, authorizedKeys = [] }) => ({
      path: `${userKeysDirectory}/${name}`,
      // sshd reads it as the user.
      mode: 0o644,
      text: authorizedKeys.map((key) => `${key}\n`).join(''),
      live: true,
    }));
}

/** The name must not have a dot in it (sudoers(5), "Including other files"). */
function sudoers({ users = [] }: NodeSettings): SeedFile[] {
  const text = users.filter(({ sudo }) => sudo).map(({ name }) => `${name} ALL=(ALL:ALL) NOPASSWD: ALL\n`);
  return text.length === 0 ? [] : [{ path: 'etc/sudoers.d/90-cardless', mode: 0o440, text: text.join(''), live: true }];
}

function timeZone({ timeZone: zone }: NodeSettings): SeedFile[] {
  return zone === undefined
    ? []
    : [
        { path: 'etc/localtime', mode: 0o777, link: `/usr/share/zoneinfo/${zone}` },
        { path: 'etc/timezone', mode: 0o644, text: `${zone}\n` },
      ];
}

/** Debian reads the first, everybody's systemd the second (locale.conf(5)). */
function locale({ locale: lang }: NodeSettings): SeedFile[] {
  return lang === undefined ? [] : ['etc/default/locale', 'etc/locale.conf'].map((path) => ({ path, mode: 0o644, text: `LANG=${lang}\n` }));
}

/** keyboard(5) of Debian, and vconsole.conf(5), whose names of keymaps begin with the layout's. */
function keyboard({ keyboard: layouts }: NodeSettings): SeedFile[] {
  if (layouts === undefined) {
    return [];
  }
  const [first = ''] = layouts.split(',');
  return [
    {
      path: 'etc/default/keyboard',
      mode: 0o644,
      text: `XKBMODEL="pc105"\nXKBLAYOUT="${layouts}"\nXKBVARIANT=""\nXKBOPTIONS=""\nBACKSPACE="guess"\n`,
    },
    { path: 'etc/vconsole.conf', mode: 0o644, text: `KEYMAP=${first}\nXKBLAYOUT=${layouts}\n` },
  ];
}

/** As the content of a node has them: no file, and yet something that changes. */
export function accountParts({ users = [], userGroups = [] }: NodeSettings): { what: string; value: string }[] {
  return [
    ...userGroups.map(({ name, gid }) => ({ what: `user group ${name}`, value: String(gid ?? 'any') })),
    ...users.map(({ name, uid, shell, groups, passwordHash }) => ({
      what: `user ${name}`,
      value: JSON.stringify([uid, shell, groups, passwordHash]),
    })),
  ];
}

/** Names that a system uses itself; users of them would take its rights. */
const systemNames = new Set(
  'root daemon bin sys sync games man lp mail news uucp proxy www-data backup list irc nobody sshd messagebus polkitd systemd-network systemd-resolve systemd-timesync'.split(
    ' ',
  ),
);

export function accountProblems({ settings: { users = [], userGroups = [] } }: Node): SettingsProblem[] {
  const numbers = new Map<number, string>();
  return [
    ...users.flatMap((user): SettingsProblem[] => {
      const { name, uid, shell } = user;
      const before = uid === undefined ? undefined : numbers.get(uid);
      if (uid !== undefined) {
        numbers.set(uid, name);
      }
      const messages = [
        ...(systemNames.has(name)
          ? [`the user ${name} belongs to the system${name === 'root' ? '; authorizedKeys is for its keys' : ''}`]
          : []),
        ...(before === undefined ? [] : [`the users ${before} and ${name} have the same uid ${uid}`]),
        ...(shell !== undefined && /[:\s]/.test(shell) ? [`"${shell}" cannot be the shell of ${name}`] : []),
      ];
      return messages.map((message) => ({ list: 'users', key: name, message }));
    }),
    ...userGroups.flatMap(({ name, gid }, index): SettingsProblem[] => {
      const before = userGroups.slice(0, index).find((other) => gid !== undefined && other.gid === gid);
      return before ? [{ list: 'userGroups', key: name, message: `the groups ${before.name} and ${name} have the same gid ${gid}` }] : [];
    }),
  ];
}
