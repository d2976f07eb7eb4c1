import { execa } from 'execa';
import { expect, test } from 'vitest';
import { readHardware } from '#src/domain/hardware.ts';

test('what the agent says is read, and nothing else', () => {
  expect(readHardware('cores=4 memory=3884512')).toEqual({ cores: 4, memoryMiB: 3793 });
  for (const text of ['', 'cores=0 memory=1024', 'cores=4 memory=', 'cores=4 memory=5 more', 'cores=-1 memory=9999']) {
    expect(readHardware(text), text).toBeUndefined();
  }
});

test('the line of the agent is what this machine has', async () => {
  const agent = await execa('grep', ['^hardware=', new URL('../../rootfs/agent/agent', import.meta.url).pathname]);
  const said = await execa('sh', ['-c', `busybox=\n${agent.stdout}\nprintf %s "$hardware"`]);
  const { stdout: memory } = await execa('awk', ['$1 == "MemTotal:" { print int($2 / 1024) }', '/proc/meminfo']);
  const { stdout: cores } = await execa('getconf', ['_NPROCESSORS_ONLN']);
  expect(readHardware(said.stdout)).toEqual({ cores: Number(cores), memoryMiB: Number(memory) });
});
