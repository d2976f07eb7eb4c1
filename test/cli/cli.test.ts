import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test, vi } from 'vitest';
import { cardless } from '../support/lab-server.ts';

// Some twenty servers start at once, and the machine may have other work.
vi.setConfig({ testTimeout: 120_000 });

const state = (): string => mkdtempSync(join(tmpdir(), 'cardless-test-'));

describe.concurrent('wrong input: exit 2, the value and an example', () => {
  const settings = join(state(), 'cardless.yaml');
  writeFileSync(settings, 'httpPort: 99999\ninterface: eth0\n');
  const broken = join(state(), 'broken.yaml');
  writeFileSync(broken, 'a: [1,\n');
  const privateKey = join(state(), 'id_ed25519');
  writeFileSync(privateKey, '-----BEGIN OPENSSH PRIVATE KEY-----\nsecret\n');
  test.each<[string, string[], RegExp]>([
    ['serial', ['node', 'add', 'red5', '--serial', 'xyz'], /"xyz" is not a serial number\n.*91cdf03d/],
    ['name', ['node', 'add', 'Red5', '--serial', '91cdf03d'], /"Red5" is not a node name\n.*red5/],
    ['range', ['node', 'add', 'red[7-5]', '--serial', '91cdf03d'], /ends before it begins\n.*red\[5-7\]/],
    ['unequal ranges', ['node', 'add', 'red[5-7]', '--serial', '00000001,00000002'], /3 nodes but 2 values for serial numbers/],
    ['private key', ['node', 'add', 'red5', '--key', privateKey], /This is a private key\n.*\.pub/],
    ['address', ['node', 'add', 'red5', '--serial', '91cdf03d', '--ip', '10.0.0.256'], /"10.0.0.256" is not an IPv4 address\n.*192\.168/],
    [
      'overlay',
      ['node', 'add', 'red5', '--serial', '91cdf03d', '--overlay', 'both'],
      /"both" is not an overlay mode\n.*persistent, ephemeral/,
    ],
    ['subnet', ['up', '--interface', 'lo', '--mode', 'full', '--subnet', '10.0.0.7/24'], /host bits set\n.*10\.0\.0\.0\/24/],
    ['mode', ['up', '--interface', 'lo', '--mode', 'half'], /"half" is not a mode\n.*proxy, full, off/],
    ['log level', ['up', '--no-network', '--log-level', 'loud'], /'loud' is invalid. Allowed choices are debug, info, warn, error/],
    ['settings', ['up', '--config', settings], /is wrong in 2 places:\n.*httpPort.*\n.*interface/s],
    ['YAML', ['up', '--config', broken], /is not valid YAML: .*line 2/s],
    ['missing settings file', ['up', '--config', '/nonexistent.yaml'], /\/nonexistent\.yaml cannot be read/],
    ['command', ['reboot-all'], /unknown command 'reboot-all'/],
    ['option', ['node', 'list', '--fast'], /unknown option '--fast'/],
    ['commit of no node', ['image', 'commit'], /required option '--from <node>' not specified/],
    ['argument', ['node', 'add'], /missing required argument 'name'/],
    ['simulated model', ['sim', '--interface', 'x', '--serial', '91cdf03d', '--model', 'pi9'], /no simulated model "pi9"/],
    ['part of the tests', ['test', 'fast'], /"fast" is not a part of the tests/],
  ])('%s', async (_name, args, message) => {
    const result = await cardless(['--state', state(), ...args]);
    expect(result.stderr).toMatch(message);
    expect(result.stderr).not.toMatch(/\n\s+at /);
    expect(result.code).toBe(2);
  });
});

describe.concurrent('what cannot be done: exit 1', () => {
  test.each<[string, string[], RegExp]>([
    ['a node that is not there', ['node', 'show', 'red5'], /There is no node "red5"\n.*node list/],
    ['an interface that is not there', ['up', '--interface', 'nope0'], /no interface "nope0".*\n.*lo \(127\.0\.0\.1\)/],
  ])('%s', async (_name, args, message) => {
    const result = await cardless(['--state', state(), ...args]);
    expect(result.stderr).toMatch(message);
    expect(result.code).toBe(1);
  });
});

test('--help tells what there is', async () => {
  const help = await cardless(['--help']);
  expect(help.code).toBe(0);
  for (const command of ['up', 'demo', 'node', 'reimage', 'image', 'sim', 'setup', 'test']) {
    expect(help.stdout).toMatch(new RegExp(`^  ${command}\\b`, 'm'));
  }
});
