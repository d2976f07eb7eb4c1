import { mkdtempSync, readdirSync, readlinkSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { pino } from 'pino';
import { extract } from 'tar-stream';
import { describe, expect, test } from 'vitest';
import { BootSessions } from '#src/daemon/boot-sessions.ts';
import { Exports } from '#src/daemon/exports.ts';
import { hashOf, NodeContents } from '#src/daemon/fleet/node-contents.ts';
import { HostKeys } from '#src/daemon/identity.ts';
import { nodeAddresses } from '#src/daemon/node-addresses.ts';
import { NodeDisksMaker } from '#src/daemon/node-disks.ts';
import { NodeHandover } from '#src/daemon/node-handover.ts';
import { NodeSecrets } from '#src/daemon/secrets.ts';
import { SshCa } from '#src/daemon/ssh-ca.ts';
import type { BootSession } from '#src/domain/boot-session.ts';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { parseNodeName } from '#src/domain/node.ts';
import { parseSerial } from '#src/domain/serial.ts';
import { ImageCatalog } from '#src/images/catalog.ts';
import { DataVolumes } from '#src/overlays/data-volumes.ts';
import { OverlayDisks } from '#src/overlays/overlay-disks.ts';
import { StoreSpace } from '#src/overlays/store-space.ts';
import { Turns } from '#src/overlays/turns.ts';
import { openDatabase } from '#src/store/database.ts';
import { LeaseStore } from '#src/store/leases.ts';
import { NodeStore } from '#src/store/nodes.ts';
import { SessionStore } from '#src/store/sessions.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { publishTestImage } from '../support/lab-server.ts';
import { nodeRecord, operatorKey } from '../support/nodes.ts';

const red5 = parseNodeName('red5');
const peer = parseIpv4('10.0.0.5');
const server = parseIpv4('10.0.0.1');

async function start(change: Parameters<typeof nodeRecord>[1] = {}) {
  const state = mkdtempSync(join(tmpdir(), 'cardless-'));
  const database = openDatabase(join(state, 'state.db'));
  const clock = new FakeClock();
  const log = pino({ level: 'silent' });
  const nodes = new NodeStore(database);
  nodes.add([nodeRecord(red5, { serial: parseSerial('91cdf03d'), ...change })]);
  await publishTestImage(state);
  const images = new ImageCatalog(join(state, 'images'));
  const [image] = await images.list();
  if (!image) {
    throw new Error('no image');
  }
  const sessions = new BootSessions(new SessionStore(database), clock, log);
  const overlays = new OverlayDisks({ directory: join(state, 'overlays'), bytes: 64 * 2 ** 20 });
  const exports = new Exports(join(state, 'exports'));
  const data = new DataVolumes(join(state, 'data'));
  const fenced: string[] = [];
  const disks = new NodeDisksMaker({
    nodes,
    images,
    overlays,
    data,
    space: new StoreSpace([state], 0),
    exports,
    turns: new Turns(),
    overlayBytes: 64 * 2 ** 20,
    dataBytes: 64 * 2 ** 20,
    work: join(state, 'work'),
    fence: (paths) => {
      fenced.push(...paths);
      return Promise.resolve();
    },
  });
  const leases = new LeaseStore(database);
  const secrets = new NodeSecrets(join(state, 'keys/_secrets'), clock);
  const handover = new NodeHandover({
    nodes,
    leases,
    sessions,
    images,
    disks,
    exports,
    hostKeys: new HostKeys(join(state, 'keys')),
    sshCa: new SshCa(join(state, 'keys/_ca')),
    domain: 'cluster.internal',
    secrets,
    contents: new NodeContents({
      authorizedKeys: [operatorKey],
      domain: 'cluster.internal',
      sshCa: 'ssh-ed25519 AAAA ca',
      archOf: () => 'arm64',
      drawOf: (secret, node) => secrets.drawOf(secret, node),
      addressOf: nodeAddresses(sessions, leases),
      nextImages: (all) => Promise.resolve(all.map(() => [image.digest])),
    }),
    httpPort: 8067,
    nbdPort: 10_809,
    ephemeralPercent: 50,
    clock,
    log,
  });
  const boot = (): BootSession => sessions.open({ node: red5, arch: 'arm64', client: 'pi3-bootcode', digest: image.digest });
  return {
    state,
    nodes,
    sessions,
    handover,
    boot,
    fenced,
    overlays,
    data,
    image,
    disk: overlays.pathOf(red5, image.digest),
    root: images.pathOf(image.digest, 'root.img'),
  };
}

async function filesOf(seed: Buffer): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  const archive = extract();
  archive.end(gunzipSync(seed));
  for await (const entry of archive) {
    const parts: Buffer[] = [];
    for await (const part of entry) {
      parts.push(part as Buffer);
    }
    files.set(`${entry.header.name} ${(entry.header.mode ?? 0).toString(8)}`, entry.header.linkname ?? Buffer.concat(parts).toString());
  }
  return files;
}

describe('plan', () => {
  test('cuts off whoever is on the disks, and says what was done to them', async () => {
    const { handover, boot, sessions, fenced, overlays, data } = await start({ dataBytes: 64 * 2 ** 20 });
    const text = await handover.plan(boot().token, peer);
    expect(text).toContain("PLAN_OVERLAY_SIZE='50%'\nPLAN_DATA='yes'\n");
    expect(fenced).toEqual([overlays.directoryOf(red5), data.directoryOf(red5)]);
    expect(sessions.of(red5)?.events.map(({ what }) => what)).toEqual(['overlay made', 'overlay checked', 'data volume made', 'plan']);
  });
  test('asked for again by the same boot, touches no disk: the node may have mounted it by now', async () => {
    const { handover, boot, sessions, fenced } = await start();
    const { token } = boot();
    const [first, second] = [await handover.plan(token, peer), await handover.plan(token, peer)];
    expect(second).toBe(first);
    expect(fenced).toHaveLength(2);
    expect(sessions.of(red5)?.events.filter(({ what }) => what === 'overlay checked')).toHaveLength(1);
  });
  test('is a refusal that the node can repeat when a disk is no disk', async () => {
    const { handover, boot, disk, overlays, image, sessions, state } = await start();
    await overlays.reset(red5, image.digest);
    writeFileSync(disk, 'rubbish');
    const { token } = boot();
    const text = await handover.plan(token, peer);
    expect(text).toMatch(
      /^PLAN_NODE='red5'\nPLAN_TIME='0'\nPLAN_REFUSAL='The overlay of red5 is damaged: .*cardless overlay reset red5 gives it a fresh one.*'\n$/,
    );
    handover.event(token, peer, 'failed', 'plan: The overlay of red5 is damaged');
    expect(sessions.of(red5)).toMatchObject({ outcome: 'failed', failure: 'plan: The overlay of red5 is damaged' });
    expect(readdirSync(join(state, 'exports/overlay'))).toEqual([]);
  });
  test('gives the address that asks its disks, and nobody else', async () => {
    const { state, handover, boot, disk, root } = await start();
    const text = await handover.plan(boot().token, peer);
    expect(text).toContain("PLAN_NODE='red5'");
    expect(readlinkSync(join(state, 'exports/root', peer))).toBe(root);
    expect(readlinkSync(join(state, 'exports/overlay', peer))).toBe(disk);
  });
  test('a node that comes back with another address takes its overlay along', async () => {
    const { state, handover, boot } = await start();
    await handover.plan(boot().token, peer);
    await handover.plan(boot().token, parseIpv4('10.0.0.6'));
    expect(readdirSync(join(state, 'exports/overlay'))).toEqual(['10.0.0.6']);
  });
  test('a node that moves and becomes ephemeral leaves no way to its overlay behind', async () => {
    const { state, nodes, handover, boot } = await start();
    await handover.plan(boot().token, peer);
    nodes.set(red5, { overlay: 'ephemeral' });
    await handover.plan(boot().token, parseIpv4('10.0.0.6'));
    expect(readdirSync(join(state, 'exports/overlay'))).toEqual([]);
  });
  test('ephemeral: a root and no overlay', async () => {
    const { state, nodes, handover, boot } = await start();
    await handover.plan(boot().token, peer);
    nodes.set(red5, { overlay: 'ephemeral' });
    expect(await handover.plan(boot().token, peer)).toContain("PLAN_OVERLAY='ephemeral'");
    expect(readdirSync(join(state, 'exports/overlay'))).toEqual([]);
    expect(readdirSync(join(state, 'exports/root'))).toEqual([peer]);
  });
  test('the overlay stays from boot to boot; reimage makes a new one once, in the place of the old', async () => {
    const { nodes, handover, boot, disk } = await start();
    await handover.plan(boot().token, peer);
    const first = statSync(disk).ino;
    await handover.plan(boot().token, peer);
    expect(statSync(disk).ino).toBe(first);
    nodes.update(red5, { reimage: true });
    expect(statSync(disk).ino).toBe(first);
    await handover.plan(boot().token, peer);
    const second = statSync(disk).ino;
    expect(second).not.toBe(first);
    expect(nodes.get(red5)?.reimage).toBe(false);
    await handover.plan(boot().token, peer);
    expect(statSync(disk).ino).toBe(second);
  });
  test('asked twice at once it makes one disk', async () => {
    const { handover, boot, disk, sessions } = await start({ reimage: true });
    const { token } = boot();
    await Promise.all([handover.plan(token, peer), handover.plan(token, peer), handover.plan(token, peer)]);
    expect(sessions.of(red5)?.events.filter((event) => event.what === 'overlay made')).toHaveLength(1);
    expect(statSync(disk).size).toBe(64 * 2 ** 20);
  });
  test('a disk that was half made when the server died is not taken for one', async () => {
    const { handover, boot, disk } = await start();
    await handover.plan(boot().token, peer);
    writeFileSync(`${disk}.partial`, 'half');
    await handover.plan(boot().token, peer);
    expect(statSync(disk).size).toBe(64 * 2 ** 20);
  });
});

describe('token', () => {
  test('is bound to the address of the plan', async () => {
    const { handover, boot } = await start();
    const { token } = boot();
    await handover.plan(token, peer);
    await expect(handover.plan(token, parseIpv4('10.0.0.66'))).rejects.toThrow('not of a boot of yours');
    await expect(handover.seed(token, parseIpv4('10.0.0.66'), server)).rejects.toThrow('not of a boot of yours');
  });
  test('ends at the handover, when users of the node can read it', async () => {
    const { handover, boot } = await start();
    const { token } = boot();
    await handover.plan(token, peer);
    handover.event(token, peer, 'handover', '/sbin/init');
    await expect(handover.seed(token, peer, server)).rejects.toThrow('not of a boot of yours');
    expect(() => handover.event(token, peer, 'root', '')).toThrow('not of a boot of yours');
  });
  test('of an earlier boot is worth nothing', async () => {
    const { handover, boot } = await start();
    const { token } = boot();
    boot();
    await expect(handover.plan(token, peer)).rejects.toThrow('not of a boot of yours');
  });
  test('of a boot that failed is worth nothing, and the reason is kept', async () => {
    const { handover, boot, sessions } = await start();
    const { token } = boot();
    handover.event(token, peer, 'failed', 'root: cannot\n mount');
    expect(sessions.of(red5)).toMatchObject({ outcome: 'failed', failure: 'root: cannot  mount' });
    await expect(handover.plan(token, peer)).rejects.toThrow('not of a boot of yours');
  });
});

describe('seed', () => {
  test('has the identity of the node, the same at every boot, and secrets only root can read', async () => {
    const { handover, boot } = await start();
    const seeds: Map<string, string>[] = [];
    for (let count = 0; count < 2; count += 1) {
      const { token } = boot();
      await handover.plan(token, peer);
      seeds.push(await filesOf(await handover.seed(token, peer, server)));
    }
    const [first, second] = seeds;
    expect(first?.get('etc/hostname 644')).toBe('red5\n');
    expect(first?.get('etc/ssh/ssh_host_ed25519_key-cert.pub 644')).toMatch(/^ssh-ed25519-cert-v01@openssh.com /);
    expect(first?.get('etc/ssh/ssh_known_hosts 644')).toMatch(/^@cert-authority \* ssh-ed25519 /);
    expect(first?.get('etc/machine-id 444')).toMatch(/^[0-9a-f]{32}\n$/);
    expect(first?.get('etc/ssh/ssh_host_ed25519_key 600')).toContain('PRIVATE KEY');
    expect(first?.get('root/.ssh/authorized_keys 600')).toBe(`${operatorKey}\n`);
    expect(first?.get('etc/ssh/sshd_config.d/10-cardless.conf 644')).toContain('PasswordAuthentication no');
    expect(first?.get('etc/cardless/agent.conf 600')).toMatch(
      /^AGENT_SERVER='http:\/\/10\.0\.0\.1:8067'\nAGENT_PROXY='http:\/\/agent:[\w-]{32}@10\.0\.0\.1:8067'\n$/,
    );
    // A service that waits for the server is not dead.
    expect(first?.get('etc/systemd/system/systemd-journald.service.d/10-cardless.conf 644')).toBe('[Service]\nWatchdogSec=0\n');
    expect(first?.get('etc/systemd/system.conf.d/10-cardless.conf 644')).toBe('[Manager]\nRuntimeWatchdogSec=0\n');
    for (const name of ['etc/machine-id 444', 'etc/ssh/ssh_host_ed25519_key 600']) {
      expect(second?.get(name)).toBe(first?.get(name));
    }
  });
  test('what a node was given is remembered as hashes, with the version that it boots', async () => {
    const { handover, boot, sessions } = await start();
    const { token, digest } = boot();
    await handover.plan(token, peer);
    await handover.seed(token, peer, server);
    const content = sessions.of(red5)?.content;
    expect(content).toMatchObject({
      image: hashOf(digest),
      overlay: hashOf('persistent'),
      '/etc/hostname': hashOf('644 root file red5\n'),
    });
    expect(JSON.stringify(content)).not.toContain('ssh-ed25519');
  });
  test('the key in it says ready, from the address of the boot alone', async () => {
    const { handover, boot, sessions } = await start();
    const { token } = boot();
    await handover.plan(token, peer);
    const files = await filesOf(await handover.seed(token, peer, server));
    const key = /agent:(.*)@/.exec(files.get('etc/cardless/agent.conf 600') ?? '')?.[1] ?? '';
    expect(() => handover.ready(key, parseIpv4('10.0.0.66'))).toThrow('not of a boot of yours');
    expect(() => handover.ready('wrong', peer)).toThrow('not of a boot of yours');
    handover.ready(key, peer, 'cores=4 memory=3884512');
    handover.ready(key, peer);
    expect(sessions.of(red5)).toMatchObject({ outcome: 'ready', stage: 'ready', hardware: { cores: 4, memoryMiB: 3793 } });
    expect(() => handover.space('wrong', peer, 'data', 93)).toThrow('not of a boot of yours');
    expect(() => handover.space(key, peer, 'swap', 93)).toThrow('There is no disk "swap"');
    handover.space(key, peer, 'data', 93);
    handover.space(key, peer, 'data', 12);
    expect(sessions.of(red5)?.events.slice(-2)).toMatchObject([
      { what: 'data volume nearly full', detail: '93 %' },
      { what: 'data volume has space again', detail: '12 %' },
    ]);
    handover.hook(key, peer, 'firstBoot', 'packages', 0);
    handover.hook(key, peer, 'everyBoot', 'mount', 143);
    expect(() => handover.hook(key, peer, 'everyBoot', 'a b', 0)).toThrow('There is no such hook');
    expect(() => handover.hook('wrong', peer, 'everyBoot', 'mount', 0)).toThrow('not of a boot of yours');
    expect(sessions.of(red5)?.events.slice(-2)).toMatchObject([
      { what: 'hook done', detail: 'firstBoot packages' },
      { what: 'hook failed', detail: 'everyBoot mount: exit code 143 (ended after 15 minutes)' },
    ]);
  });
  test('a secret is in the seed, in the stage that only root can read; what is remembered tells it by its draw alone', async () => {
    const secret = { name: 'k3s', path: '/etc/k3s-token', scope: 'cluster', bytes: 16, encoding: 'hex' } as const;
    const { handover, boot, sessions } = await start({ own: { secrets: [secret] } });
    const seeds: Map<string, string>[] = [];
    for (let count = 0; count < 2; count += 1) {
      const { token } = boot();
      await handover.plan(token, peer);
      seeds.push(await filesOf(await handover.seed(token, peer, server)));
    }
    const secretIn = (files: Map<string, string> | undefined): string => {
      const [, name] = /^file\t(f\d+)\t0600\t-\tno\t\/etc\/k3s-token$/m.exec(files?.get('usr/lib/cardless/stage/list 600') ?? '') ?? [];
      return files?.get(`usr/lib/cardless/stage/${name} 600`) ?? '';
    };
    expect(secretIn(seeds[0])).toMatch(/^[0-9a-f]{32}$/);
    expect(secretIn(seeds[1])).toBe(secretIn(seeds[0]));
    expect(Object.keys(sessions.of(red5)?.content ?? {})).toContain('secret k3s');
    expect(JSON.stringify(sessions.of(red5))).not.toContain(secretIn(seeds[0]));
  });
});
