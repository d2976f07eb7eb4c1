import { describe, expect, test } from 'vitest';
import type { BootSession } from '#src/domain/boot-session.ts';
import { parseImageDigest, parseImageName } from '#src/domain/image.ts';
import { parseAddressRange, parseIpv4 } from '#src/domain/ipv4.ts';
import { parseMac } from '#src/domain/mac.ts';
import { parseNodeName } from '#src/domain/node.ts';
import { allocateAddress } from '#src/policy/allocate-address.ts';
import { renderPlan } from '#src/policy/boot-plan.ts';
import { laterStage, opensSession, stageOfFile } from '#src/policy/boot-progress.ts';
import { RateLimit } from '#src/policy/rate-limit.ts';
import { renderCmdlineTxt, renderConfigTxt, renderIpxeBoot } from '#src/policy/render-config.ts';
import { nextRestart } from '#src/policy/restart-policy.ts';
import { isExpectedMissing, readTftpPath } from '#src/policy/tftp-path.ts';
import { readConfigTxt } from '#src/sim/config-txt.ts';

describe('addresses', () => {
  const pool = parseAddressRange('10.0.0.10-10.0.0.12');
  const mac = parseMac('b827eb6c4c16');
  const none = (): boolean => false;
  test('the one that the operator wrote comes first', () => {
    expect(allocateAddress({ mac, pool, wanted: parseIpv4('10.0.0.200'), isTaken: none })).toBe('10.0.0.200');
  });
  test('then the one it had', () => {
    expect(allocateAddress({ mac, pool, held: parseIpv4('10.0.0.11'), isTaken: none })).toBe('10.0.0.11');
  });
  test('not when the pool has moved on', () => {
    expect(allocateAddress({ mac, pool, held: parseIpv4('10.9.0.11'), isTaken: none })).toMatch(/^10\.0\.0\.1[0-2]$/);
  });
  test('the same MAC gets the same one again without any record', () => {
    expect(allocateAddress({ mac, pool, isTaken: none })).toBe(allocateAddress({ mac, pool, isTaken: none }));
  });
  test('every address of the pool is found, then none', () => {
    const taken = new Set<string>();
    for (let count = 0; count < 3; count += 1) {
      const address = allocateAddress({ mac: parseMac(`b827eb00000${count}`), pool, isTaken: (candidate) => taken.has(candidate) });
      expect(address).toBeDefined();
      taken.add(address ?? '');
    }
    expect(taken.size).toBe(3);
    expect(allocateAddress({ mac, pool, isTaken: (candidate) => taken.has(candidate) })).toBeUndefined();
  });
});

describe('TFTP names', () => {
  test.each([
    ['bootcode.bin', { path: 'bootcode.bin' }],
    ['916c4c16/start.elf', { serial: '916c4c16', path: 'start.elf' }],
    ['/916C4C16//overlays/x.dtbo', { serial: '916c4c16', path: 'overlays/x.dtbo' }],
    ['overlays\\x.dtbo', { path: 'overlays/x.dtbo' }],
    ['deadbeef', { path: 'deadbeef' }],
  ])('%s', (name, want) => {
    expect(readTftpPath(name)).toEqual({ kind: 'path', ...want });
  });
  test.each(['', '..', '../etc/passwd', '916c4c16/../../etc/passwd', 'a/./b', 'a\0b', 'caf\u00e9', '..\\x', '/', 'x'.repeat(300)])(
    '%j is refused',
    (name) => {
      expect(readTftpPath(name).kind).toBe('refused');
    },
  );
  test.each([
    ['TFTP_PREFIX=1', 'lab7/start4.elf', ['lab7/'], { path: 'start4.elf' }],
    ['TFTP_PREFIX=1 without a slash', 'LAB7//config.txt', ['lab7'], { path: 'config.txt' }],
    ['TFTP_PREFIX=2', 'dc-a6-32-01-36-c2/start4.elf', [], { mac: 'dc:a6:32:01:36:c2', path: 'start4.elf' }],
    ['a serial of 16 digits', '10000000916c4c16/start.elf', [], { serial: '916c4c16', path: 'start.elf' }],
    ['the whole path of another server', '/srv/tftp/916c4c16/start.elf', [], { serial: '916c4c16', path: 'start.elf' }],
    ['a prefix of nobody', 'other/start4.elf', ['lab7'], { path: 'other/start4.elf' }],
  ])('%s', (_name, name, prefixes, want) => {
    expect(readTftpPath(name, prefixes)).toEqual({ kind: 'path', ...want });
  });
  test('what firmware asks in vain is expected, what it needs is not', () => {
    expect(['bootsig.bin', 'recovery8.img', 'armstub8.bin', 'overlays/overlay_map.dtb'].every(isExpectedMissing)).toBe(true);
    expect(['kernel8.img', 'start.elf', 'config.txt', 'initramfs.img'].some(isExpectedMissing)).toBe(false);
  });
});

describe('boot sessions', () => {
  const session = (change: Partial<BootSession>): BootSession => ({
    id: '1',
    node: parseNodeName('red5'),
    arch: 'arm64',
    client: 'pi3-bootcode',
    digest: parseImageDigest('a'.repeat(64)),
    token: 't',
    startedAt: 0,
    stage: 'dhcp',
    outcome: 'running',
    events: [],
    ...change,
  });
  const sent = (detail: string) => ({ at: 1000, stage: 'firmware' as const, what: 'file sent', detail });
  test.each<[string, BootSession | undefined, Parameters<typeof opensSession>[1], number, boolean]>([
    ['the first DISCOVER opens one', undefined, 'pi3-bootcode', 0, true],
    ['a repeated DISCOVER belongs to it', session({}), 'pi3-bootcode', 5000, false],
    ["bootcode.bin's own DISCOVER belongs to it", session({ events: [sent('bootcode.bin 52476 bytes')] }), 'pi3-bootcode', 2000, false],
    ['after start.elf it is a new boot', session({ events: [sent('start.elf 3 bytes')] }), 'pi3-bootcode', 2000, true],
    ['after the kernel it is a new boot', session({ stage: 'kernel' }), 'ipxe', 2000, true],
    ['after ready it is a new boot', session({ stage: 'ready', outcome: 'ready' }), 'ipxe', 2000, true],
    ['after a long silence it is a new boot', session({}), 'ipxe', 100_000, true],
    ["Linux's own DHCP never opens one", undefined, 'lease', 0, false],
  ])('%s', (_name, current, client, now, want) => {
    expect(opensSession(current, client, now)).toBe(want);
  });
  test('stages only go forward', () => {
    expect(laterStage('kernel', 'dhcp')).toBe('kernel');
    expect(laterStage('dhcp', 'kernel')).toBe('kernel');
    expect([stageOfFile('start.elf'), stageOfFile('kernel8.img')]).toEqual(['firmware', 'kernel']);
  });
});

test('a child that keeps dying waits longer each time, up to ten seconds, and is forgiven after a minute', () => {
  const delays: number[] = [];
  let history = { failures: [] as readonly number[] };
  for (let count = 0; count < 9; count += 1) {
    const restart = nextRestart(history, 1000 + count);
    delays.push(restart.delayMs);
    history = { failures: restart.history.failures };
  }
  expect(delays).toEqual([100, 200, 400, 800, 1600, 3200, 6400, 10_000, 10_000]);
  expect(nextRestart(history, 120_000).delayMs).toBe(100);
});

describe('rendered texts', () => {
  const facts = {
    node: parseNodeName('red5'),
    image: { name: parseImageName('debian-13'), digest: parseImageDigest('ab'.repeat(32)), arch: 'arm64' as const },
    mac: parseMac('b827eb6c4c16'),
    server: parseIpv4('10.77.0.1'),
    httpPort: 8067,
    token: 'secret',
  };
  test('config.txt is short plain ASCII with an explicit initramfs', () => {
    const text = renderConfigTxt(facts);
    expect(text).toMatch(/^initramfs initramfs\.img followkernel$/m);
    expect(text).toMatch(/^[\x20-\x7e\n]*$/);
    expect(text.length).toBeLessThan(4096);
    expect(Math.max(...text.split('\n').map((line) => line.length))).toBeLessThan(80);
  });
  test.each([
    ['arm64', 'kernel8.img', '1'],
    ['armhf', 'kernel7.img', '0'],
  ] as const)('a Pi 3 reads the kernel of %s out of it', (arch, kernel, bits) => {
    const text = renderConfigTxt({ ...facts, image: { ...facts.image, arch } });
    expect(text).toContain(`arm_64bit=${bits}\n`);
    const read = readConfigTxt(Buffer.from(text), { models: ['pi3'], serial: '91cdf03d' });
    expect(read).toMatchObject({ kernel, initramfs: ['initramfs.img'] });
  });
  test("an image's own kernel arguments come before those that tell the server", () => {
    const text = renderCmdlineTxt({ ...facts, image: { ...facts.image, kernelArguments: ['cgroup_enable=memory', 'quiet'] } });
    expect(text).toContain(' panic=30 cgroup_enable=memory quiet cardless.server=');
  });
  test('cmdline.txt is one line with server, token and the NIC that booted', () => {
    const text = renderCmdlineTxt(facts);
    expect(text.trimEnd().split('\n')).toHaveLength(1);
    expect(text).toContain('cardless.server=http://10.77.0.1:8067 cardless.token=secret BOOTIF=01-b8-27-eb-6c-4c-16');
  });
  test('the iPXE script names its initrd for the kernel', () => {
    const script = renderIpxeBoot({ ...facts, image: { ...facts.image, arch: 'amd64' } });
    expect(script.startsWith('#!ipxe\n')).toBe(true);
    expect(script).toMatch(/^kernel http:\/\/10\.77\.0\.1:8067\/boot\/secret\/vmlinuz initrd=initramfs\.img /m);
  });
  test('a plan cannot break out of its quotes', () => {
    const text = renderPlan({
      node: parseNodeName('red5'),
      time: 12.7,
      nbdPort: 10_809,
      digest: facts.image.digest,
      rootFormat: 'erofs',
      overlay: 'persistent',
      ephemeralPercent: 50,
      dataVolume: true,
    });
    expect(text).toContain("PLAN_NODE='red5'\nPLAN_TIME='12'\n");
    expect(
      text
        .split('\n')
        .filter((line) => line !== '')
        .every((line) => /^PLAN_[A-Z_]+='[^']*'$/.test(line)),
    ).toBe(true);
  });
});

describe('a limit on what is said', () => {
  const limit = (): RateLimit => new RateLimit({ lines: 2, everyMs: 1000, maxKeys: 2 });
  test('the first lines pass, then it is quiet, then it tells how many were left out', () => {
    const lines = limit();
    const turns = [0, 1, 2, 3, 1000].map((now) => lines.take('a', now));
    expect(turns.map((turn) => turn.kind)).toEqual(['pass', 'pass', 'hold', 'hold', 'pass']);
    expect(turns[4]).toEqual({ kind: 'pass', leftOut: 2 });
  });
  test('each key has its own', () => {
    const lines = limit();
    [0, 1, 2].map((now) => lines.take('a', now));
    expect(lines.take('b', 3).kind).toBe('pass');
  });
});
