/** The files that settings ask for, and what keeps them from being given to a node. */
import type { Node, NodeName } from '../domain/node.ts';
import type { NodeFile } from '../domain/node-settings.ts';
import { renderTemplate, type TemplateContext } from './render-template.ts';
import type { SeedFile } from './seed-file.ts';

/** Where in a node's settings something is wrong. */
export interface SettingsProblem {
  readonly list: 'files' | 'secrets' | 'users' | 'userGroups' | 'cloudInit' | 'power';
  /** Of the entry: its path or name. */
  readonly key: string;
  readonly message: string;
}

export function settingsFiles(node: Node, context: TemplateContext): { files: SeedFile[]; problems: SettingsProblem[] } {
  const problems: SettingsProblem[] = [];
  const files = (node.settings.files ?? []).map((file): SeedFile => {
    const facts = {
      path: file.path.slice(1),
      mode: Number.parseInt(file.mode ?? '0644', 8),
      own: true as const,
      ...(file.owner === undefined ? {} : { owner: file.owner }),
      ...(file.live ? { live: true } : {}),
    };
    if (file.content === undefined) {
      return { ...facts, gone: true };
    }
    const rendered = textOf(file, file.content, context);
    if ('text' in rendered) {
      return { ...facts, text: rendered.text };
    }
    problems.push({ list: 'files', key: file.path, message: `${file.path}, line ${rendered.line}: ${rendered.reason}` });
    return { ...facts, kept: true };
  });
  return { files, problems };
}

function textOf(file: NodeFile, content: string, context: TemplateContext): ReturnType<typeof renderTemplate> {
  return file.template ? renderTemplate(content, context) : { text: content };
}

/** Not on the node's disk: the system puts a file system of its own over it. */
const covered = ['/dev', '/proc', '/sys', '/run', '/tmp'];
/** What other settings say, or what is made at each boot. */
const rendered: Readonly<Record<string, string>> = {
  '/etc/passwd': 'users',
  '/etc/shadow': 'users',
  '/etc/group': 'userGroups',
  '/etc/gshadow': 'userGroups',
  '/etc/resolv.conf': 'resolver',
  '/etc/hostname': 'the name of the node',
  '/etc/hosts': 'the names and addresses of the nodes',
  '/etc/localtime': 'timeZone',
  '/etc/timezone': 'timeZone',
  '/etc/default/locale': 'locale',
  '/etc/locale.conf': 'locale',
  '/etc/default/keyboard': 'keyboard',
  '/etc/vconsole.conf': 'keyboard',
  '/etc/resolvconf.conf': 'resolver',
  '/root/.ssh/authorized_keys': 'authorizedKeys',
};
const ours = [
  /^\/(etc|usr\/lib|var\/lib)\/cardless(\/|$)/,
  /^\/etc\/([^/]+\/){0,2}[^/]*-cardless(\.[^/]*)?$/,
  /^\/etc\/systemd\/system\/(.*\/)?cardless-[^/]*$/,
  /^\/etc\/(init\.d\/cardless|local\.d\/cardless\.start)$/,
  /^\/etc\/ssh\/ssh_(host_[^/]*|known_hosts)$/,
  /^\/var\/lib\/cloud\/seed(\/|$)/,
  /^\/etc\/cloud\/cloud\.cfg\.d\/99-cardless[^/]*$/,
  /^\/etc\/machine-id$/,
];
/** Without them there is no system to boot. Any other directory is left alone by the node, which says so. */
const vital = [
  /^\/(bin|boot|data|dev|etc|home|lib|lib32|lib64|media|mnt|opt|proc|root|run|sbin|srv|sys|tmp|usr|var)$/,
  /^\/(usr|var|usr\/local)\/[a-z]+$/,
  /^\/(usr\/)?(sbin\/init|lib\/systemd\/systemd|lib(32|64)?\/ld-[^/]*|bin\/(sh|bash|dash|busybox))$/,
];

/** Why a path is not the operator's to write; undefined when it is. */
export function whyNotWritten(path: string): string | undefined {
  if (/\p{Cc}/u.test(path)) {
    return 'has a control character in it';
  }
  if (
    path
      .split('/')
      .slice(1)
      .some((part) => part === '' || part === '.' || part === '..')
  ) {
    return 'is not a plain path: leave out //, . and ..';
  }
  if (covered.some((directory) => path === directory || path.startsWith(`${directory}/`))) {
    return 'would not be seen: the node mounts a file system of its own there';
  }
  const said = Object.hasOwn(rendered, path) ? rendered[path] : undefined;
  if (said !== undefined) {
    return `is written at each boot from ${said}`;
  }
  if (ours.some((pattern) => pattern.test(path))) {
    return 'is written by the server at each boot';
  }
  return vital.some((pattern) => pattern.test(path)) ? 'is a part of the system without which the node does not boot' : undefined;
}

/** A secret of the cluster is one for all, so all must want as much of it. */
export function unequalSecrets(fleet: readonly Node[]): { node: NodeName; problem: SettingsProblem }[] {
  const first = new Map<string, { readonly node: NodeName; readonly bytes: number }>();
  return fleet.flatMap(({ name: node, settings: { secrets = [] } }) =>
    secrets
      .filter(({ scope }) => scope === 'cluster')
      .flatMap(({ name, bytes }) => {
        const before = first.get(name) ?? { node, bytes };
        first.set(name, before);
        const message = `the secret ${name} is one for all, with ${before.bytes} bytes for ${before.node} and ${bytes} here`;
        return before.bytes === bytes ? [] : [{ node, problem: { list: 'secrets' as const, key: name, message } }];
      }),
  );
}

/** What is wrong with where files and secrets of a node are to go. */
export function pathProblems({ settings }: Node): SettingsProblem[] {
  const entries = [
    ...(settings.files ?? []).map(({ path }) => ({ list: 'files' as const, key: path, path })),
    ...(settings.secrets ?? []).map(({ path, name }) => ({ list: 'secrets' as const, key: name, path })),
  ];
  const problems: SettingsProblem[] = [];
  const seen = new Map<string, string>();
  for (const { list, key, path } of entries) {
    const why = whyNotWritten(path);
    const before = seen.get(path);
    const inside = entries.find((other) => path.startsWith(`${other.path}/`));
    if (why !== undefined) {
      problems.push({ list, key, message: `${path} ${why}` });
    } else if (before !== undefined) {
      problems.push({ list, key, message: `${path} is also the path of ${before}` });
    } else if (inside) {
      problems.push({ list, key, message: `${path} cannot be a file while ${inside.path} is one` });
    }
    seen.set(path, list === 'secrets' ? `the secret "${key}"` : 'a file');
  }
  return problems;
}
