import { appendFileSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import { debianRoot, nodeRoot } from '../support/node-root.ts';
import { operatorKey } from '../support/nodes.ts';

const hash = '$6$salt$abcdefghijkl';

function line(text: string, name: string): string | undefined {
  return text.split('\n').find((entry) => entry.startsWith(`${name}:`));
}

test('users and groups are made with home, keys and sudo; a second time nothing is written', async () => {
  using node = await nodeRoot();
  const settings = {
    userGroups: [{ name: 'lab', gid: 5000 }],
    users: [
      { name: 'ann', uid: 2000, groups: ['adm', 'lab', 'docker'], sudo: true, authorizedKeys: [operatorKey], shell: '/bin/sh' },
      { name: 'bob', passwordHash: hash },
      { name: 'pi', groups: ['lab'] },
    ],
  };
  expect(await node.boot(settings)).toEqual(['there is no group docker for the user ann']);
  const [passwd, group, shadow, gshadow] = ['passwd', 'group', 'shadow', 'gshadow'].map((name) => node.read(`etc/${name}`));
  expect(passwd).toBe(`${debianRoot['etc/passwd']}ann:x:2000:2000::/home/ann:/bin/sh\nbob:x:1001:1001::/home/bob:/bin/sh\n`);
  expect(group).toBe('root:x:0:\ndaemon:x:1:\nadm:x:4:pi,ann\npi:x:1000:\nlab:x:5000:ann,pi\nann:x:2000:\nbob:x:1001:\n');
  expect(gshadow).toBe('root:*::\ndaemon:*::\nadm:*::pi,ann\npi:!::\nlab:!::ann,pi\nann:!::\nbob:!::\n');
  expect(line(shadow ?? '', 'ann')).toMatch(/^ann:\*:\d{5}:0:99999:7:::$/);
  expect(line(shadow ?? '', 'bob')).toMatch(/^bob:\$6\$salt\$abcdefghijkl:/);
  expect(line(shadow ?? '', 'pi')).toBe('pi:$y$j9T$abc:20000:0:99999:7:::');
  expect([node.stat('etc/shadow'), node.stat('etc/passwd')]).toEqual(['640 0:0', '644 0:0']);
  expect([node.stat('home/ann'), node.stat('home/ann/.profile')]).toEqual(['700 2000:2000', '644 2000:2000']);
  expect([node.read('etc/cardless/keys/ann'), node.stat('etc/cardless/keys/ann')]).toEqual([`${operatorKey}\n`, '644 0:0']);
  expect([node.read('etc/sudoers.d/90-cardless'), node.stat('etc/sudoers.d/90-cardless')]).toEqual([
    'ann ALL=(ALL:ALL) NOPASSWD: ALL\n',
    '440 0:0',
  ]);
  writeFileSync(node.at('home/ann/.profile'), 'her own');
  expect(await node.boot(settings)).toEqual(['there is no group docker for the user ann']);
  expect(['passwd', 'group', 'shadow', 'gshadow'].map((name) => node.read(`etc/${name}`))).toEqual([passwd, group, shadow, gshadow]);
  expect(node.read('home/ann/.profile')).toBe('her own');
});

test('who is no longer in the settings is locked, without keys, sudo and groups, and keeps the number and the files', async () => {
  using node = await nodeRoot();
  const ann = { name: 'ann', groups: ['adm'], sudo: true, authorizedKeys: [operatorKey], passwordHash: hash };
  await node.boot({ users: [ann] });
  const before = line(node.read('etc/passwd'), 'ann');
  for (const change of [() => node.refresh({ users: [] }), () => node.boot({})]) {
    expect(await change()).toEqual([]);
    expect(line(node.read('etc/shadow'), 'ann')).toMatch(/^ann:!\$6\$salt\$abcdefghijkl:\d+:0:99999:7::1:$/);
    expect(line(node.read('etc/passwd'), 'ann')).toBe(before);
    expect(line(node.read('etc/group'), 'adm')).toBe('adm:x:4:pi');
    expect(line(node.read('etc/gshadow'), 'adm')).toBe('adm:*::pi');
    expect([node.exists('etc/cardless/keys/ann'), node.exists('etc/sudoers.d/90-cardless'), node.exists('home/ann')]).toEqual([
      false,
      false,
      true,
    ]);
  }
  await node.boot({ users: [{ name: 'ann', authorizedKeys: [operatorKey] }, { name: 'eve' }] });
  expect(line(node.read('etc/passwd'), 'ann')).toBe(before);
  expect(line(node.read('etc/shadow'), 'ann')).toMatch(/^ann:\*:\d+:0:99999:7:::$/);
  expect(line(node.read('etc/passwd'), 'eve')).toMatch(/^eve:x:1002:1002:/);
});

test('a group or password that is no longer given is taken back; what the image gave stays', async () => {
  using node = await nodeRoot();
  await node.boot({
    users: [
      { name: 'ann', groups: ['adm'], passwordHash: hash },
      { name: 'pi', groups: ['adm', 'daemon'] },
    ],
  });
  await node.boot({
    users: [
      { name: 'ann', groups: ['adm'], passwordHash: hash },
      { name: 'pi', groups: ['adm', 'daemon'] },
    ],
  });
  expect([line(node.read('etc/group'), 'adm'), line(node.read('etc/group'), 'daemon')]).toEqual(['adm:x:4:pi,ann', 'daemon:x:1:pi']);
  await node.boot({ users: [{ name: 'ann' }, { name: 'pi' }] });
  expect([line(node.read('etc/group'), 'adm'), line(node.read('etc/group'), 'daemon')]).toEqual(['adm:x:4:pi', 'daemon:x:1:']);
  expect(line(node.read('etc/gshadow'), 'adm')).toBe('adm:*::pi');
  expect(line(node.read('etc/shadow'), 'ann')).toMatch(/^ann:\*:/);
  expect(line(node.read('etc/shadow'), 'pi')).toBe('pi:$y$j9T$abc:20000:0:99999:7:::');
});

test('numbers that are taken, and names that the image has with another number', async () => {
  using node = await nodeRoot();
  appendFileSync(node.at('etc/group'), 'eve:x:3000:\n');
  const said = await node.boot({
    userGroups: [
      { name: 'adm', gid: 4000 },
      { name: 'lab', gid: 3000 },
    ],
    users: [{ name: 'any' }, { name: 'ann', uid: 1000 }, { name: 'pi', uid: 1500 }, { name: 'eve', uid: 1001 }],
  });
  expect(said).toEqual([
    'the group adm has the number 4 here, not 4000',
    'the number 3000 belongs to the group eve; lab has 1001',
    'the number 1000 belongs to the user pi; ann has 1002',
    'the user pi has the number 1000 here, not 1500',
  ]);
  const passwd = node.read('etc/passwd');
  expect(['pi', 'eve', 'ann', 'any'].map((name) => line(passwd, name)?.split(':').slice(2, 4).join(' '))).toEqual([
    '1000 1000',
    '1001 3000',
    '1002 1002',
    '1003 1003',
  ]);
});

test('a root of another kind: no gshadow, no skel, and what is odd in its files stays', async () => {
  using node = await nodeRoot({
    'etc/passwd': 'root:x:0:0:root:/root:/bin/ash\n\n+::::::\n',
    'usr/sbin/dropbear': '',
    'etc/group': 'root:x:0:root\n',
    'etc/shadow': 'root:*::0:::::\n',
  });
  const init = 'the agent and its hooks are not started: this system has an init that is not known';
  expect(await node.boot({ users: [{ name: 'ann' }] })).toEqual([init]);
  expect(node.read('etc/passwd')).toBe('root:x:0:0:root:/root:/bin/ash\n\n+::::::\nann:x:1000:1000::/home/ann:/bin/sh\n');
  expect(node.exists('etc/gshadow')).toBe(false);
  expect(readdirSync(node.at('home/ann'))).toEqual([]);
});

test('time zone, locale, keyboard and name servers; what they replaced comes back', async () => {
  using node = await nodeRoot({
    ...debianRoot,
    'etc/timezone': 'Etc/UTC\n',
    'etc/dhcpcd.conf': 'hostname\n',
    'var/lib/dhcpcd/duid': '00:01',
  });
  mkdirSync(node.at('run/cardless'), { recursive: true });
  writeFileSync(node.at('run/cardless/lease'), "LEASE_DNS='10.0.0.1 9.9.9.9'\n");
  await node.boot({});
  expect(node.read('etc/resolv.conf')).toBe('nameserver 10.0.0.1\nnameserver 9.9.9.9\n');
  expect(node.exists('var/lib/dhcpcd/duid')).toBe(false);
  const wanted = { timeZone: 'Europe/Berlin', locale: 'de_DE.UTF-8', keyboard: 'de', resolver: { search: ['lab.example', 'example'] } };
  await node.boot(wanted);
  expect([node.link('etc/localtime'), node.read('etc/timezone')]).toEqual(['/usr/share/zoneinfo/Europe/Berlin', 'Europe/Berlin\n']);
  expect([node.read('etc/locale.conf'), node.read('etc/default/locale')]).toEqual(['LANG=de_DE.UTF-8\n', 'LANG=de_DE.UTF-8\n']);
  expect(node.read('etc/vconsole.conf')).toBe('KEYMAP=de\nXKBLAYOUT=de\n');
  expect(node.read('etc/resolv.conf')).toBe('search lab.example example\nnameserver 10.0.0.1\nnameserver 9.9.9.9\n');
  expect(node.read('etc/dhcpcd.conf')).toBe('# cardless\nnohook resolv.conf\nhostname\n');
  await node.boot({ resolver: { servers: ['10.0.0.9' as never] } });
  expect(node.read('etc/resolv.conf')).toBe('nameserver 10.0.0.9\n');
  expect([node.read('etc/timezone'), node.exists('etc/locale.conf')]).toEqual(['Etc/UTC\n', false]);
  expect(node.read('etc/dhcpcd.conf')).toBe('# cardless\nnohook resolv.conf\nhostname\n');
  await node.boot({});
  expect(node.read('etc/dhcpcd.conf')).toBe('hostname\n');
});
