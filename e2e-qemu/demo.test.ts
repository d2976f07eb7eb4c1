import { execa } from 'execa';
import { describe, expect, test } from 'vitest';
import { z } from 'zod';

const Result = z.object({
  ok: z.boolean(),
  imagesUnchanged: z.boolean(),
  nodes: z.array(
    z.object({
      name: z.string(),
      serial: z.string(),
      arch: z.string(),
      readySeconds: z.number(),
      persisted: z.boolean(),
      reimaged: z.boolean(),
      ephemeral: z.boolean().optional(),
      error: z.string().optional(),
    }),
  ),
});

async function leftovers(pid: number | undefined): Promise<string[]> {
  const names = (await execa('ip', ['netns', 'list'])).stdout.split('\n').filter((name) => name.startsWith(`cardless-${pid}-`));
  const programs = (await execa('ps', ['-eo', 'pid,args'])).stdout
    .split('\n')
    .filter((line) => /qemu-system|nbd-server/.test(line) && line.includes('/demo/'));
  return [...names, ...programs];
}

describe('sudo ./cardless demo', () => {
  test('a Raspberry Pi and a PC without disks boot, and every promise about them holds', async () => {
    const demo = execa('./cardless', ['demo', '--json'], { stdin: 'ignore', all: true, reject: false });
    demo.stderr.on('data', (text: Buffer) => process.stdout.write(text));
    const done = await demo;
    const result = Result.parse(JSON.parse(done.stdout.trim().split('\n').at(-1) ?? ''));
    expect(result).toMatchObject({
      ok: true,
      imagesUnchanged: true,
      nodes: [
        { name: 'pi1', arch: 'arm64', persisted: true, reimaged: true },
        { name: 'pc1', arch: 'amd64', persisted: true, reimaged: true, ephemeral: true },
      ],
    });
    expect(done.exitCode).toBe(0);
    expect(await leftovers(demo.pid)).toEqual([]);
  });

  test('Ctrl-C in the middle leaves nothing behind', async () => {
    const demo = execa('./cardless', ['demo'], { stdin: 'ignore', all: true, reject: false });
    const powered = Promise.withResolvers<void>();
    let said = '';
    demo.stderr.on('data', (text: Buffer) => {
      said += text;
      if (/initramfs after/.test(said)) {
        powered.resolve();
      }
    });
    await Promise.race([powered.promise, demo]);
    demo.kill('SIGINT');
    const done = await demo;
    expect(done.exitCode).toBe(1);
    expect(done.stderr).toContain('cancelled');
    expect(await leftovers(demo.pid)).toEqual([]);
  });
});
