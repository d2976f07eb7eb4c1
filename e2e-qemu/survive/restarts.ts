/** What ends a guest's life, in order or not: power-off, a crash of the server's machine, an attacher that is gone, a boot that hangs. */
import { rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ran, serverLog, startLab, type TestLab, until } from '../../test/support/lab-server.ts';
import { Guest } from '../../test/support/survive/guest.ts';
import { allWrite, killNbd } from '../../test/support/survive/outage.ts';
import { useImages } from '../../test/support/survive/test-image.ts';
import { images } from './images.ts';

const minutes = 60_000;

function say(text: string): void {
  process.stdout.write(`survive: ${text}\n`);
}

async function consoleSays(guest: Guest, text: RegExp): Promise<void> {
  await until(async () => text.test(await guest.console()), `${guest.name}'s console to say ${text}`, 6 * minutes);
}

/** 8 GiB, of which most is a hole. */
async function copyDisk(from: string, to: string): Promise<void> {
  expect((await ran('cp', ['--sparse=always', from, to])).code).toBe(0);
}

/** The machine's memory is gone: no process is left, and the disk is as it was when it was last flushed. */
async function crashMachine(lab: TestLab, disk: string, flushed: string): Promise<void> {
  await lab.server.crash();
  await killNbd(lab);
  await copyDisk(flushed, disk);
  const record = join(lab.state, 'exports/machine-boot');
  await writeFile(`${record}.new`, 'the boot before');
  await rename(`${record}.new`, record);
}

/** A boot loader that cannot reach a busy server in time starts over, which ends this guest. */
async function startUntilReady(guest: Guest, before: string | undefined): Promise<void> {
  await guest.pc.powerOn();
  const ready = guest.ready(before);
  const ended = async (): Promise<boolean> => {
    await guest.pc.ended;
    return true;
  };
  while (await Promise.race([ready.then(() => false), ended()])) {
    await guest.pc.powerOff();
    await guest.pc.powerOn();
  }
}

describe.concurrent('guests that go down', () => {
  test('Debian: reboot and poweroff close the disk, kill nobody that serves it, and wait for nothing', async () => {
    await using lab = await startLab('debian');
    await useImages(lab, images());
    // It ends where it would start again, so that the disk can be looked at.
    await using guest = await Guest.create({ lab, index: 1, image: 'debian-now', memoryMib: 768, hardware: ['-no-reboot'] });
    const signal = new AbortController().signal;
    const runs: string[] = [];
    for (const action of ['reboot', 'poweroff']) {
      const before = await guest.bootId();
      await startUntilReady(guest, before);
      await lab.server.ssh(guest.name, 'systemctl is-system-running --wait; dd if=/dev/urandom of=/root/some bs=1M count=8', signal);
      const from = (await guest.console()).length;
      const start = Date.now();
      // It ends with the connection that it came by.
      await lab.server.sshOnce(guest.name, `systemctl ${action}`, signal).catch(() => {});
      await guest.pc.ended;
      const last = (await guest.console()).slice(from);
      expect(last).toMatch(/EXT4-fs \(nbd1\): unmounting filesystem/);
      expect(last).toContain(`cardless: disks released, ${action}`);
      expect(last).not.toMatch(/timed out|SIGKILL to PID|connection lost|Network is unreachable|Failed unmounting|still in use/);
      const { said, ...checked } = await guest.check();
      expect(checked, said).toEqual({ clean: true, needsRecovery: false });
      runs.push(`${action} in ${Math.round((Date.now() - start) / 1000)} s`);
      await guest.pc.powerOff();
    }
    say(`Debian with systemd: ${runs.join(' and ')}, each with its disk unmounted and clean`);
  });

  test('a crash of the machine with unflushed writes: the node is refused, restarts by itself and finds a clean disk', async () => {
    await using lab = await startLab('crash');
    await useImages(lab, images());
    await using guest = await Guest.create({ lab, index: 1 });
    await guest.boot();
    await guest.sh('echo flushed >/var/flushed; sync');
    const disk = await guest.disk();
    const flushed = join(lab.state, 'flushed.img');
    await copyDisk(disk, flushed);
    await guest.startLoad();
    await allWrite([guest]);
    await guest.sh('echo later >/var/later; sync');
    const boot = await guest.bootId();
    await crashMachine(lab, disk, flushed);
    await lab.server.start();
    await consoleSays(guest, /nbd-attach: nbd1: the server's machine was restarted and may have lost writes; this node restarts/);
    await guest.ready(boot);
    expect(await guest.sh('cat /var/flushed; ls /var/later 2>/dev/null')).toBe('flushed');
    expect(await guest.kernelErrors()).toBe('');
    expect(await serverLog(lab.server)).toContain('disk refused');
    await guest.shutDown();
    const { said, ...checked } = await guest.check();
    expect(checked, said).toEqual({ clean: true, needsRecovery: false });
    say('machine crash: refused, restarted, what was flushed is there, the disk is clean');
  });

  test('hardware restarts a node whose attacher is gone; a boot that hangs ends with a reason on console and server', async () => {
    await using lab = await startLab('watchdog');
    await useImages(lab, images());
    const watchdog = ['-device', 'i6300esb', '-action', 'watchdog=reset'];
    await using guest = await Guest.create({ lab, index: 1, hardware: watchdog });
    await using hanging = await Guest.create({ lab, index: 2, image: 'hangs' });
    await Promise.all([guest.boot(), hanging.pc.powerOn()]);
    const boot = await guest.bootId();
    await guest.sh('kill -9 $(ps | sed -n "s/^ *\\([0-9]*\\) .*@bd-attach 0 .*/\\1/p")');
    await consoleSays(hanging, /cardless: FAILED at root: not handed over in 120 seconds; starting over/);
    const told = async (): Promise<boolean> => (await serverLog(lab.server)).includes('root: not handed over in 120 seconds');
    await until(told, 'the server to be told', minutes);
    await guest.ready(boot);
    say('watchdog: the node is back; boot deadline: said on console and to the server');
  });
});
