/** Whether boards of a model can boot an image, told before one of them tries. */
import type { Architecture, Image, ImageFile } from '../domain/image.ts';
import type { KernelFormat } from '../domain/image-contents.ts';
import { type AnyOf, type BoardModel, type PiBoard, pcDrivers } from './board-models.ts';
import { ramdiskBytes, ramdiskWarnings } from './boot-ramdisk.ts';
import { kernelFiles } from './pi-kernels.ts';

export interface InitramfsFacts {
  /** Of the kernel whose modules it has. */
  readonly version: string | undefined;
  readonly modules: readonly string[];
}

export interface CheckFacts {
  readonly arch: Architecture;
  readonly rootFormat: Image['rootFormat'];
  readonly files: readonly ImageFile[];
  /** By the name of a boot file. */
  readonly kernels: Readonly<Record<string, KernelFormat>>;
  /** By the name of a boot file; undefined when it cannot be read. */
  readonly initramfs: Readonly<Record<string, InitramfsFacts | undefined>>;
  /** What the kernels have built in, by version. */
  readonly builtin: Readonly<Record<string, readonly string[]>>;
  /** As rendered for a node. */
  readonly configTxt: string;
  readonly cmdlineTxt: string;
  readonly bootRamdisk: boolean;
}

export interface Finding {
  /** `fail`: it does not boot. `warn`: some boards of the model, or some firmware, will not. */
  readonly level: 'fail' | 'warn';
  readonly what: string;
}

export interface ModelCheck {
  readonly model: string;
  readonly title: string;
  readonly canBoot: boolean;
  readonly findings: readonly Finding[];
}

const formatOf: Readonly<Record<string, KernelFormat>> = { arm64: 'arm64', armhf: 'arm', amd64: 'x86' };
/** Linux COMMAND_LINE_SIZE; of 32-bit ARM half of it. */
const maxCmdlineBytes = 2048;
const maxArmCmdlineBytes = 1024;
/** Older start4.elf takes no more of a config.txt by TFTP (raspberrypi/firmware#1012), and older builds cut long lines. */
const maxConfigBytes = 4096;
const maxConfigLine = 98;
const maxBlocks = 65_535;
/** What every initramfs needs on top of the root's own format, whatever the board is. */
const rootDrivers = ['nbd', 'overlay', 'ext4'];

const blockLimits: Readonly<Record<PiBoard['loader'], readonly { readonly blksize: number; readonly who: string }[]>> = {
  bootcode: [{ blksize: 512, who: 'bootcode.bin asks for blocks of 512 bytes, and is not known to count beyond 65535 of them' }],
  // raspberrypi/rpi-eeprom: #375, #720 and release notes of 2022-10-03 (1468 bytes) and 2025-09-23 (block numbers roll over).
  eeprom: [
    { blksize: 1468, who: 'boards with an EEPROM older than 2025-09-23 read only the first 96.2 MB of it' },
    { blksize: 1024, who: 'boards with an EEPROM up to 2022-09 read only the first 67.1 MB of it' },
  ],
};

export function checkImage(facts: CheckFacts, model: BoardModel): ModelCheck {
  const findings = model.archs.includes(facts.arch)
    ? [...(model.kind === 'pi' ? checkPi(facts, model) : checkPc(facts, model))]
    : [fail(`the image is for ${facts.arch}, the board needs ${model.archs.join(' or ')}`)];
  return { model: model.name, title: model.title, canBoot: !findings.some(({ level }) => level === 'fail'), findings };
}

function* checkPi(facts: CheckFacts, model: PiBoard): Generator<Finding> {
  const config = readConfig(facts.configTxt, model.filters);
  const fetched = [...model.firmware, ...(model.pair ?? [])];
  for (const name of model.firmware.filter((file) => !has(facts, file))) {
    yield fail(`${name} is missing, which its ROM asks for (boards with it on an SD card do without)`);
  }
  const [start, fixup] = model.pair ?? [];
  for (const name of (model.pair ?? []).filter((file) => !has(facts, file))) {
    yield fail(`${name} is missing; ${start} and ${fixup} go together`);
  }
  const tree = config.deviceTree === undefined ? model.deviceTrees.find((name) => has(facts, name)) : config.deviceTree;
  if (tree === undefined || !has(facts, tree)) {
    yield fail(`its device tree is missing: ${tree ?? model.deviceTrees.join(' or ')}`);
  }
  yield* checkConfig(facts);
  yield* checkCmdline(facts, config.is64Bit ? maxCmdlineBytes : maxArmCmdlineBytes);
  yield* checkKernel(facts, config.kernel, config.is64Bit ? ['arm64'] : ['arm']);
  for (const name of config.initramfs) {
    yield* checkInitramfs(facts, name, model);
  }
  if (config.initramfs.length === 0) {
    yield fail('config.txt names no initramfs');
  }
  yield* checkSizes(facts, model, [...fetched, ...(tree === undefined ? [] : [tree]), config.kernel, ...config.initramfs]);
}

function* checkPc(facts: CheckFacts, model: BoardModel): Generator<Finding> {
  const kernel = kernelFiles[facts.arch];
  yield* checkKernel(facts, kernel, [formatOf[facts.arch] ?? 'unknown']);
  yield* checkInitramfs(facts, 'initramfs.img', model);
  const drivers = driversOf(facts, 'initramfs.img');
  const missing = pcDrivers.filter((name) => drivers && !drivers.includes(name));
  if (missing.length > 0 && missing.length < pcDrivers.length) {
    yield warn(`no driver ${missing.join(', ')}: machines with such a network chip do not come up`);
  }
  yield* checkCmdline(facts, maxCmdlineBytes);
}

function* checkConfig(facts: CheckFacts): Generator<Finding> {
  const { configTxt } = facts;
  const strange = [...configTxt].find((letter) => letter > '~' || (letter < ' ' && letter !== '\n'));
  if (strange !== undefined) {
    yield fail(`config.txt has a letter that is not ASCII (${JSON.stringify(strange)}): firmware stops reading there`);
  }
  if (configTxt.length > maxConfigBytes) {
    yield warn(`config.txt has ${configTxt.length} bytes; older firmware reads only ${maxConfigBytes} by TFTP`);
  }
  const long = configTxt.split('\n').find((line) => line.length > maxConfigLine);
  if (long !== undefined) {
    yield warn(`config.txt has a line of ${long.length} letters; older firmware cuts it after ${maxConfigLine}: ${long.slice(0, 40)}...`);
  }
}

function* checkCmdline({ cmdlineTxt }: CheckFacts, maxBytes: number): Generator<Finding> {
  const lines = cmdlineTxt.split('\n').filter((line) => line !== '');
  if (lines.length > 1) {
    yield fail(`cmdline.txt has ${lines.length} lines; only the first one counts`);
  }
  if ((lines[0] ?? '').length >= maxBytes) {
    yield fail(`cmdline.txt has ${(lines[0] ?? '').length} letters; the kernel takes fewer than ${maxBytes}`);
  }
}

function* checkKernel(facts: CheckFacts, name: string, wanted: readonly KernelFormat[]): Generator<Finding> {
  const format = facts.kernels[name];
  if (!has(facts, name)) {
    yield fail(`its kernel ${name} is missing`);
  } else if (format === undefined || format === 'unknown') {
    yield warn(`${name} is no kernel of a kind that we know`);
  } else if (!wanted.includes(format)) {
    yield fail(`${name} is a kernel for ${format}, the board is started in the mode for ${wanted.join(' or ')}`);
  }
}

function* checkInitramfs(facts: CheckFacts, name: string, model: BoardModel): Generator<Finding> {
  if (!has(facts, name)) {
    yield fail(`${name} is missing`);
    return;
  }
  const drivers = driversOf(facts, name);
  if (!drivers) {
    yield warn(`${name} cannot be read, so nobody knows its drivers`);
    return;
  }
  for (const anyOf of model.drivers.filter((names) => !names.some((driver) => drivers.includes(driver)))) {
    yield fail(`neither kernel nor ${name} has the driver ${shown(anyOf)}${model.kind === 'pi' && model.why ? `: ${model.why}` : ''}`);
  }
  const missing = [facts.rootFormat, ...rootDrivers].filter((driver) => !drivers.includes(driver));
  if (missing.length > 0) {
    yield fail(`neither kernel nor ${name} has ${missing.join(', ')}, which the root needs`);
  }
}

function* checkSizes(facts: CheckFacts, model: PiBoard, names: readonly string[]): Generator<Finding> {
  if (facts.bootRamdisk) {
    for (const who of ramdiskWarnings(ramdiskBytes(facts.files), 'tftp')) {
      yield warn(`boot.img: ${who}`);
    }
    return;
  }
  for (const name of names) {
    const bytes = facts.files.find(({ path }) => path === `boot/${name}`)?.bytes ?? 0;
    // Which of the limits applies depends on the age of the board's boot loader: the first one says it for all.
    const limit = blockLimits[model.loader].find(({ blksize }) => bytes > maxBlocks * blksize);
    if (limit) {
      yield warn(`${name} has ${(bytes / 1e6).toFixed(1)} MB; ${limit.who}`);
    }
  }
}

/** What the initramfs brings and what its kernel has built in; undefined when it cannot be read. */
function driversOf(facts: CheckFacts, initramfs: string): readonly string[] | undefined {
  const own = facts.initramfs[initramfs];
  return own && [...own.modules, ...(own.version === undefined ? [] : (facts.builtin[own.version] ?? []))];
}

function has(facts: CheckFacts, name: string): boolean {
  return facts.files.some(({ path }) => path === `boot/${name}`);
}

function shown(anyOf: AnyOf): string {
  return anyOf.length === 1 ? (anyOf[0] ?? '') : `${anyOf.slice(0, -1).join(', ')} or ${anyOf.at(-1) ?? ''}`;
}

function fail(what: string): Finding {
  return { level: 'fail', what };
}

function warn(what: string): Finding {
  return { level: 'warn', what };
}

interface Config {
  readonly kernel: string;
  readonly initramfs: readonly string[];
  readonly deviceTree: string | undefined;
  readonly is64Bit: boolean;
}

/** config.txt as firmware reads it (conditional.adoc): of the filters we render models only, each in place of the last. */
function readConfig(text: string, filters: readonly string[]): Config {
  const values = new Map<string, string>();
  let applies = true;
  for (const line of text.split('\n').map((raw) => raw.trim())) {
    const filter = /^\[(.+)\]$/.exec(line)?.[1];
    if (filter !== undefined) {
      applies = filter === 'all' || filters.includes(filter);
    } else if (applies && !line.startsWith('#')) {
      const [, key, value] = /^(initramfs(?= )|[^=]+)[ =](.*)$/.exec(line) ?? [];
      if (key !== undefined && value !== undefined) {
        values.set(key, value.trim());
      }
    }
  }
  const initramfs = values.get('initramfs')?.split(' ')[0]?.split(',') ?? [];
  // Without the line a Pi 4 or 5 starts in 64-bit mode and older ones do not (boot.adoc, arm_64bit).
  const is64Bit =
    values.get('arm_64bit') === '1' || (values.get('arm_64bit') === undefined && filters.some((name) => /^pi[45]$/.test(name)));
  return {
    kernel: values.get('kernel') ?? (is64Bit ? 'kernel8.img' : 'kernel7.img'),
    initramfs,
    deviceTree: values.get('device_tree'),
    is64Bit,
  };
}
