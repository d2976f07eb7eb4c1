import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { parseMac } from '#src/domain/mac.ts';
import type { CloudInit } from '#src/domain/node-settings.ts';
import { cloudInitFiles, cloudInitProblems } from '#src/policy/render-cloud-init.ts';
import { testNode } from '../support/nodes.ts';

function node(cloudInit: CloudInit) {
  return testNode('red5', { macs: [parseMac('b8:27:eb:00:00:05')], own: { cloudInit } });
}

function textsOf(cloudInit: CloudInit): Record<string, string> {
  return Object.fromEntries(cloudInitFiles(node(cloudInit)).map(({ path, text = '' }) => [path.split('/').at(-1) ?? '', text]));
}

test('user-data is a cloud-config, meta-data names the node, network-config is there when it is wanted', () => {
  const texts = textsOf({ userData: { packages: ['htop'] }, metaData: { rack: 'a' }, networkConfig: { version: 2 } });
  expect(texts['user-data']).toMatch(/^#cloud-config\n/);
  expect(parse(texts['user-data'] ?? '')).toEqual({ packages: ['htop'] });
  expect(parse(texts['meta-data'] ?? '')).toMatchObject({ 'local-hostname': 'red5', rack: 'a' });
  expect(parse(texts['network-config'] ?? '')).toEqual({ version: 2 });
  expect(parse(texts['98-cardless.cfg'] ?? '')).toMatchObject({ datasource_list: ['NoCloud', 'None'], preserve_hostname: true });
  expect(Object.keys(textsOf({}))).toEqual(['98-cardless.cfg', 'user-data', 'meta-data']);
});

test('another user-data is another instance, the same is the same, and the operator may say which it is', () => {
  const instance = (cloudInit: CloudInit): unknown => parse(textsOf(cloudInit)['meta-data'] ?? '')['instance-id'];
  expect(instance({ userData: { a: 1 } })).toBe(instance({ userData: { a: 1 } }));
  expect(instance({ userData: { a: 1 } })).not.toBe(instance({ userData: { a: 2 } }));
  expect(instance({ metaData: { 'instance-id': 'mine' } })).toBe('mine');
});

test.each<[string, CloudInit, string]>([
  ['a host name', { userData: { hostname: 'x' } }, 'cloudInit.userData.hostname: is set from the name of the node'],
  ['host keys', { userData: { ssh_keys: {} } }, 'cloudInit.userData.ssh_keys: is set from the keys that the server keeps'],
  ['a name', { metaData: { 'local-hostname': 'x' } }, 'cloudInit.metaData.local-hostname: is the name of the node'],
  [
    'the boot interface by its MAC',
    { networkConfig: { version: 2, ethernets: { lan: { match: { macaddress: 'B8:27:EB:00:00:05' } } } } },
    'cloudInit.networkConfig: the interface lan (B8:27:EB:00:00:05) is the one that the node boots from',
  ],
  [
    'eth0 of version 1',
    { networkConfig: { network: { version: 1, config: [{ type: 'physical', name: 'eth0' }] } } },
    'cloudInit.networkConfig: eth0 may be the interface that the node boots from; name others by their MAC',
  ],
])('%s is refused', (_name, cloudInit, message) => {
  expect(cloudInitProblems(node(cloudInit)).map((problem) => problem.message)).toEqual([message]);
});

test('another interface, and all else, is left to the operator', () => {
  const networkConfig = { version: 2, ethernets: { eth0: { match: { macaddress: '00:11:22:33:44:55' } }, wlan0: {} } };
  expect(cloudInitProblems(node({ userData: { runcmd: ['x'], users: ['default'] }, networkConfig }))).toEqual([]);
});
