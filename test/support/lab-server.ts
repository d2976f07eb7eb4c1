/** A real server in a lab of its own, with a small image that was made in a moment instead of half an hour. */
import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { execa } from 'execa';
import { DemoServer } from '#src/cli/demo/demo-server.ts';
import { projectRoot } from '#src/config/places.ts';
import { parseImageName } from '#src/domain/image.ts';
import { parseIpv4, parseSubnet } from '#src/domain/ipv4.ts';
import { publishImage } from '#src/images/publish.ts';
import { Lab } from '#src/sim/lab.ts';

export const subnet = '10.78.0.0/24';

export interface TestLab extends AsyncDisposable {
  readonly lab: Lab;
  readonly server: DemoServer;
  readonly state: string;
}

export async function startLab(name: string, flags: readonly string[] = ['--mode', 'full', '--subnet', subnet]): Promise<TestLab> {
  const state = await mkdtemp(join(tmpdir(), 'cardless-test-'));
  await using stack = new AsyncDisposableStack();
  const lab = stack.use(await Lab.create({ name, address: parseIpv4('10.78.0.1'), subnet: parseSubnet(subnet) }));
  const server = stack.use(new DemoServer({ lab, state, env: process.env, flags }));
  await server.start();
  const owned = stack.move();
  return { lab, server, state, [Symbol.asyncDispose]: () => owned.disposeAsync() };
}

/** Not bootable, but with every file that the firmware of a Pi asks for. */
export async function publishTestImage(state: string): Promise<string> {
  const draft = await mkdtemp(join(tmpdir(), 'cardless-draft-'));
  await mkdir(join(draft, 'boot'));
  const files = {
    'bootcode.bin': 52_000,
    'start.elf': 300_000,
    'fixup.dat': 7000,
    'bcm2710-rpi-3-b-plus.dtb': 22_000,
    'initramfs.img': 100_001,
    'kernel8.img': 500_000,
    vmlinuz: 10_000,
  };
  for (const [name, size] of Object.entries(files)) {
    await writeFile(join(draft, 'boot', name), Buffer.alloc(size, name));
  }
  await writeFile(join(draft, 'root.img'), Buffer.alloc(65_536, 'root'));
  const facts = { name: parseImageName('debian-13'), arch: 'arm64', kernelVersion: 'test', rootFormat: 'erofs' } as const;
  const image = await publishImage(draft, facts, join(state, 'images'), new Date());
  return image.digest;
}

export interface Ran {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The command line as a person types it. */
export async function cardless(args: readonly string[], options: { readonly env?: Record<string, string> } = {}): Promise<Ran> {
  const result = await execa(process.execPath, [join(projectRoot, 'src/main.ts'), ...args], {
    reject: false,
    stdin: 'ignore',
    ...(options.env ? { env: options.env } : {}),
  });
  return { code: result.exitCode ?? -1, stdout: result.stdout, stderr: result.stderr };
}

/** A program inside the lab. */
export async function inLab(lab: Lab, file: string, ...args: string[]): Promise<Ran> {
  const [program, all] = lab.inside(file, args);
  return await ran(program, all);
}

export async function ran(file: string, args: readonly string[]): Promise<Ran> {
  const result = await execa(file, args, { reject: false, stdin: 'ignore', timeout: 60_000 });
  return { code: result.exitCode ?? -1, stdout: String(result.stdout), stderr: String(result.stderr) };
}

export async function serverLog(server: DemoServer): Promise<string> {
  return await readFile(server.logFile, 'utf8');
}

export async function until(condition: () => Promise<boolean>, what: string, timeoutMs = 60_000): Promise<void> {
  const deadline = Date.now() + timeoutMs;
  while (!(await condition())) {
    if (Date.now() > deadline) {
      throw new Error(`waited in vain for ${what}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
