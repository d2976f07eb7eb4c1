/**
 * The NoCloud seed for images that have cloud-init, and what keeps it from undoing what the server has set. The files are put
 * where cloud-init looks by rootfs/agent/apply, and only in roots that have it.
 */
import type { Node } from '../domain/node.ts';
import type { JsonObject, JsonValue } from '../domain/node-settings.ts';
import type { SettingsProblem } from './render-files.ts';
import type { SeedFile } from './seed-file.ts';

const directory = 'etc/cardless/cloud-init';

/** Read by ds-identify too, which wants the list on one line. With None at its end nothing else is looked for. */
const configuration = [
  'datasource_list: [NoCloud, None]',
  'preserve_hostname: true',
  'manage_etc_hosts: false',
  'ssh_deletekeys: false',
  'ssh_genkeytypes: []',
  'disable_root: false',
  'resize_rootfs: false',
  'growpart: {mode: "off"}',
  '',
].join('\n');

export function cloudInitFiles({ name, settings: { cloudInit = {} } }: Node): SeedFile[] {
  const { userData = {}, metaData = {}, networkConfig } = cloudInit;
  const user = `#cloud-config\n${JSON.stringify(userData, undefined, 2)}\n`;
  // cloud-init does its work again when this changes.
  const instance = `cardless-${name}-${fingerprint(user + JSON.stringify(metaData))}`;
  const meta = { 'instance-id': instance, 'local-hostname': name, ...metaData };
  const file = (what: string, text: string): SeedFile => ({ path: `${directory}/${what}`, mode: 0o600, text });
  return [
    file('98-cardless.cfg', configuration),
    file('user-data', user),
    file('meta-data', `${JSON.stringify(meta, undefined, 2)}\n`),
    ...(networkConfig === undefined ? [] : [file('network-config', `${JSON.stringify(networkConfig, undefined, 2)}\n`)]),
  ];
}

/** FNV-1a, 32 bits: only has to differ. */
function fingerprint(text: string): string {
  const value = [...Buffer.from(text)].reduce((hash, byte) => Math.imul(hash ^ byte, 0x0100_0193) >>> 0, 0x811c_9dc5);
  return value.toString(16).padStart(8, '0');
}

const setByServer: Readonly<Record<string, string>> = {
  hostname: 'the name of the node',
  fqdn: 'the name of the node',
  prefer_fqdn_over_hostname: 'the name of the node',
  preserve_hostname: 'the name of the node',
  create_hostname_file: 'the name of the node',
  manage_etc_hosts: 'the names and addresses of the nodes',
  ssh_keys: 'the keys that the server keeps',
  ssh_deletekeys: 'the keys that the server keeps',
  ssh_genkeytypes: 'the keys that the server keeps',
  disable_root: 'authorizedKeys',
  ssh_pwauth: 'passwordLogin',
  manage_resolv_conf: 'resolver',
  resolv_conf: 'resolver',
  timezone: 'timeZone',
  locale: 'locale',
  keyboard: 'keyboard',
  datasource_list: 'the server',
  datasource: 'the server',
};

export function cloudInitProblems({ macs, settings: { cloudInit = {} } }: Node): SettingsProblem[] {
  const { userData = {}, metaData = {}, networkConfig } = cloudInit;
  const problem = (key: string, message: string): SettingsProblem => ({ list: 'cloudInit', key, message: `cloudInit.${key}: ${message}` });
  return [
    ...Object.keys(userData).flatMap((key) => {
      const from = Object.hasOwn(setByServer, key) ? setByServer[key] : undefined;
      return from === undefined ? [] : [problem(`userData.${key}`, `is set from ${from}`)];
    }),
    ...['local-hostname', 'hostname'].flatMap((key) =>
      Object.hasOwn(metaData, key) ? [problem(`metaData.${key}`, 'is the name of the node')] : [],
    ),
    ...(networkConfig === undefined ? [] : bootInterfaces(networkConfig, macs).map((name) => problem('networkConfig', name))),
  ];
}

/** Interfaces that are, or may be, the one that the root comes over. With net.ifnames=0 that is usually eth0. */
function bootInterfaces(config: JsonObject, macs: readonly string[]): string[] {
  const inner = isObject(config['network']) ? config['network'] : config;
  const version2 = isObject(inner['ethernets']) ? Object.entries(inner['ethernets']) : [];
  const version1 = Array.isArray(inner['config']) ? inner['config'].filter(isObject) : [];
  const named = [
    ...version2.map(([name, device]) => {
      const match = isObject(device) && isObject(device['match']) ? device['match'] : {};
      return { name: textOf(match['name']) ?? name, mac: textOf(match['macaddress']) };
    }),
    ...version1
      .filter((entry) => entry['type'] === 'physical')
      .map((entry) => ({ name: textOf(entry['name']) ?? '', mac: textOf(entry['mac_address']) })),
  ];
  return named.flatMap(({ name, mac }) => {
    if (mac !== undefined && macs.some((own) => own === mac.toLowerCase())) {
      return [`the interface ${name} (${mac}) is the one that the node boots from`];
    }
    return mac === undefined && /^(eth0|e?\*|eth\*)$/.test(name)
      ? [`${name} may be the interface that the node boots from; name others by their MAC`]
      : [];
  });
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function textOf(value: JsonValue | undefined): string | undefined {
  return typeof value === 'string' ? value : undefined;
}
