import { expect, test } from 'vitest';
import { whyNotWritten } from '#src/policy/render-files.ts';

test.each([
  '/etc/motd',
  '/etc/fstab',
  '/etc/app/app.conf',
  '/usr/local/bin/tool',
  '/root/.profile',
  '/home/ann/notes',
  '/etc/ssh/sshd_config.d/50-own.conf',
  '/etc/systemd/system/own.service',
  '/var/lib/app/x',
  '/opt/x',
])('%s may be written', (path) => {
  expect(whyNotWritten(path)).toBeUndefined();
});

test.each([
  ['/etc/hostname', 'is written at each boot from the name of the node'],
  ['/etc/shadow', 'is written at each boot from users'],
  ['/etc/ssh/ssh_host_ed25519_key', 'is written by the server at each boot'],
  ['/etc/ssh/sshd_config.d/10-cardless.conf', 'is written by the server at each boot'],
  ['/etc/sudoers.d/90-cardless', 'is written by the server at each boot'],
  ['/etc/cardless/agent.conf', 'is written by the server at each boot'],
  ['/usr/lib/cardless/agent', 'is written by the server at each boot'],
  ['/etc/systemd/system/cardless-agent.service', 'is written by the server at each boot'],
  ['/var/lib/cloud/seed/nocloud/user-data', 'is written by the server at each boot'],
  ['/sbin/init', 'is a part of the system without which the node does not boot'],
  ['/usr', 'is a part of the system without which the node does not boot'],
  ['/usr/bin', 'is a part of the system without which the node does not boot'],
  ['/bin/sh', 'is a part of the system without which the node does not boot'],
  ['/proc/sys/x', 'would not be seen: the node mounts a file system of its own there'],
  ['/etc//passwd', 'is not a plain path: leave out //, . and ..'],
  ['/etc/./passwd', 'is not a plain path: leave out //, . and ..'],
  ['/etc/a\tb', 'has a control character in it'],
])('%s %s', (path, why) => {
  expect(whyNotWritten(path)).toBe(why);
});
