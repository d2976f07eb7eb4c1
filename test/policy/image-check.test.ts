import { describe, expect, test } from 'vitest';
import type { ImageFile } from '#src/domain/image.ts';
import { findBoardModel } from '#src/policy/board-models.ts';
import { type CheckFacts, checkImage } from '#src/policy/image-check.ts';

const rootModules = ['nbd', 'overlay', 'ext4', 'erofs'];
const piModules = [...rootModules, 'dwc2', 'smsc95xx', 'lan78xx', 'genet', 'macb', 'rp1'];
const configTxt = 'arm_64bit=1\nkernel=kernel8.img\ninitramfs initramfs.img followkernel\n';
const file = (name: string, bytes = 1000): ImageFile => ({ path: `boot/${name}`, bytes, sha256: '' });
const piFiles = [
  ...['bootcode.bin', 'start.elf', 'fixup.dat', 'start4.elf', 'fixup4.dat', 'kernel8.img', 'initramfs.img'],
  ...['bcm2710-rpi-3-b.dtb', 'bcm2710-rpi-3-b-plus.dtb', 'bcm2711-rpi-4-b.dtb', 'bcm2712-rpi-5-b.dtb'],
].map((name) => file(name));

const good: CheckFacts = {
  arch: 'arm64',
  rootFormat: 'erofs',
  files: piFiles,
  kernels: { 'kernel8.img': 'arm64' },
  initramfs: { 'initramfs.img': { version: '6.12', modules: piModules } },
  builtin: {},
  configTxt,
  cmdlineTxt: 'console=tty0\n',
  bootRamdisk: false,
};
const pc: CheckFacts = {
  ...good,
  arch: 'amd64',
  files: [file('vmlinuz'), file('initramfs.img')],
  kernels: { vmlinuz: 'x86' },
  initramfs: {
    'initramfs.img': {
      version: '6.12',
      modules: [...rootModules, 'e1000e', 'igb', 'igc', 'r8169', 'tg3', 'virtio_net', 'atlantic', 'e1000'],
    },
  },
};

const without = (facts: CheckFacts, name: string): CheckFacts => ({
  ...facts,
  files: facts.files.filter(({ path }) => path !== `boot/${name}`),
});
const sized = (facts: CheckFacts, name: string, bytes: number): CheckFacts => ({
  ...without(facts, name),
  files: [...without(facts, name).files, file(name, bytes)],
});
const withModules = (modules: readonly string[], facts = good): CheckFacts => ({
  ...facts,
  initramfs: { 'initramfs.img': { version: '6.12', modules } },
});
const check = (facts: CheckFacts, model: string) => checkImage(facts, findBoardModel(model));

describe('a complete image', () => {
  test.each(['pi3b', 'pi3b+', 'pi4', 'pi5', 'uefi-arm64'])('boots on %s', (model) => {
    const result = check(
      model === 'uefi-arm64' ? withModules([...piModules, ...(pc.initramfs['initramfs.img']?.modules ?? [])]) : good,
      model,
    );
    expect(result).toMatchObject({ model, canBoot: true, findings: [] });
  });
  test('boots on a PC', () => {
    expect(check(pc, 'pc')).toMatchObject({ canBoot: true, findings: [] });
  });
});

describe('what keeps a board from booting', () => {
  const oldEeprom = 65_535 * 1468 + 1;
  test.each<[string, CheckFacts, string, RegExp]>([
    ['no device tree', without(good, 'bcm2711-rpi-4-b.dtb'), 'pi4', /device tree is missing: bcm2711-rpi-4-b\.dtb/],
    [
      'a device tree of config.txt that is not there',
      { ...good, configTxt: `${configTxt}device_tree=mine.dtb\n` },
      'pi4',
      /missing: mine\.dtb/,
    ],
    ['no bootcode.bin', without(good, 'bootcode.bin'), 'pi3b', /bootcode\.bin is missing/],
    ['no start.elf', without(good, 'start.elf'), 'pi3b+', /start\.elf is missing; start\.elf and fixup\.dat go together/],
    ['no fixup4.dat', without(good, 'fixup4.dat'), 'pi4', /fixup4\.dat is missing/],
    ['no kernel', without(good, 'kernel8.img'), 'pi4', /kernel kernel8\.img is missing/],
    ['no initramfs', without(good, 'initramfs.img'), 'pi4', /initramfs\.img is missing/],
    ['an initramfs that config.txt does not name', { ...good, configTxt: 'arm_64bit=1\n' }, 'pi4', /names no initramfs/],
    ['a 32-bit kernel in 64-bit mode', { ...good, kernels: { 'kernel8.img': 'arm' } }, 'pi4', /kernel for arm, .* mode for arm64/],
    ['a 64-bit kernel in 32-bit mode', { ...good, configTxt: configTxt.replace('=1', '=0') }, 'pi4', /kernel for arm64, .* mode for arm$/],
    ['an image for PCs', pc, 'pi4', /the image is for amd64, the board needs arm64/],
    ['an image for Pis', good, 'pc', /the image is for arm64, the board needs amd64/],
    ['no network driver', withModules(piModules.filter((name) => name !== 'genet')), 'pi4', /has the driver genet$/],
    ['no USB host', withModules(piModules.filter((name) => name !== 'dwc2')), 'pi3b', /has the driver dwc2 or dwc_otg$/],
    ['no driver for RP1', withModules(piModules.filter((name) => name !== 'rp1')), 'pi5', /rp1 or rp1_pci: Debian's kernels/],
    ['no nbd', withModules(piModules.filter((name) => name !== 'nbd')), 'pi4', /has nbd, which the root needs/],
    ["no driver of the root's format", { ...good, rootFormat: 'squashfs' }, 'pi4', /has squashfs, which the root needs/],
    ['no driver that a PC could have', withModules(rootModules, pc), 'pc', /has the driver e1000e, igb, .* or e1000$/],
    ['config.txt with an umlaut', { ...good, configTxt: `# Gerät\n${configTxt}` }, 'pi4', /not ASCII \("ä"\)/],
    ['cmdline.txt with two lines', { ...good, cmdlineTxt: 'a\nb\n' }, 'pi4', /cmdline\.txt has 2 lines/],
    ['a command line that is too long', { ...pc, cmdlineTxt: 'x'.repeat(2048) }, 'pc', /cmdline\.txt has 2048 letters/],
  ])('%s', (_name, facts, model, what) => {
    const result = check(facts, model);
    expect(result.canBoot).toBe(false);
    expect(result.findings.filter(({ level }) => level === 'fail').map((finding) => finding.what)).toEqual([expect.stringMatching(what)]);
  });
  test.each<[string, CheckFacts, string, RegExp]>([
    [
      'more than old EEPROMs can number',
      sized(good, 'initramfs.img', oldEeprom),
      'pi4',
      /initramfs\.img has 96\.2 MB; .* older than 2025-09-23/,
    ],
    [
      'more than very old EEPROMs can number',
      sized(good, 'kernel8.img', 65_535 * 1024 + 1),
      'pi5',
      /kernel8\.img has 67\.1 MB; .* up to 2022-09/,
    ],
    ['more than bootcode.bin can number', sized(good, 'kernel8.img', 65_535 * 512 + 1), 'pi3b', /kernel8\.img has 33\.6 MB; bootcode\.bin/],
    [
      'boot.img that old EEPROMs cut',
      { ...sized(good, 'kernel8.img', oldEeprom), bootRamdisk: true },
      'pi4',
      /^boot\.img: boards with an EEPROM older/,
    ],
    ['a long config.txt', { ...good, configTxt: `${configTxt}${'#\n'.repeat(2048)}` }, 'pi4', /config\.txt has \d+ bytes/],
    ['a long line', { ...good, configTxt: `${configTxt}#${'x'.repeat(98)}\n` }, 'pi4', /line of 99 letters/],
    ['a kernel of no known kind', { ...good, kernels: { 'kernel8.img': 'unknown' } }, 'pi4', /no kernel of a kind/],
    ['an initramfs that cannot be read', { ...good, initramfs: { 'initramfs.img': undefined } }, 'pi4', /cannot be read/],
    ['some usual PC driver is missing', withModules([...rootModules, 'e1000e'], pc), 'pc', /no driver igb, igc/],
  ])('%s is only worth a warning', (_name, facts, model, what) => {
    const result = check(facts, model);
    expect(result.canBoot).toBe(true);
    expect(result.findings.map((finding) => finding.what)).toContainEqual(expect.stringMatching(what));
  });
  test('exactly as much as can be numbered is no reason to warn', () => {
    expect(check(sized(good, 'kernel8.img', 65_535 * 512), 'pi3b').findings).toEqual([]);
    expect(check(sized(good, 'kernel8.img', 65_535 * 1024), 'pi4').findings).toEqual([]);
  });
});

describe('where drivers and settings come from', () => {
  test('what the kernel has built in counts, for the kernel of that initramfs alone', () => {
    const facts = withModules(piModules.filter((name) => name !== 'genet'));
    expect(check({ ...facts, builtin: { '6.12': ['genet'] } }, 'pi4').canBoot).toBe(true);
    expect(check({ ...facts, builtin: { '6.6': ['genet'] } }, 'pi4').canBoot).toBe(false);
  });
  test('lines of config.txt under a filter count for those boards alone', () => {
    const facts: CheckFacts = {
      ...good,
      files: [...good.files, file('kernel_2712.img'), file('initramfs_2712')],
      kernels: { ...good.kernels, 'kernel_2712.img': 'arm' },
      initramfs: { ...good.initramfs, initramfs_2712: { version: '6.12', modules: piModules } },
      configTxt: `${configTxt}[pi5]\nkernel=kernel_2712.img\ninitramfs initramfs_2712 followkernel\n[all]\nenable_uart=1\n`,
    };
    expect(check(facts, 'pi4').canBoot).toBe(true);
    expect(check(facts, 'pi5').findings).toEqual([{ level: 'fail', what: expect.stringMatching(/kernel_2712\.img is a kernel for arm/) }]);
  });
  test('an unknown model is named, with those that are known', () => {
    expect(() => findBoardModel('pi9')).toThrow(/"pi9" is not a board model/);
  });
});
