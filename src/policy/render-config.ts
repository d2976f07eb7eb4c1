/** The texts that a board reads before Linux, rendered per boot from current state. */
import type { BootConfiguration } from '../domain/boot-session.ts';
import { type Image, shortDigest } from '../domain/image.ts';
import type { Ipv4 } from '../domain/ipv4.ts';
import type { Mac } from '../domain/mac.ts';
import type { NodeName } from '../domain/node.ts';
import type { NodeSettings } from '../domain/node-settings.ts';
import { kernelFiles, piKernelLines, serialConsole } from './pi-kernels.ts';

export interface BootFacts {
  readonly node: NodeName;
  readonly image: Pick<Image, 'name' | 'digest' | 'arch' | 'kernels' | 'configTxt' | 'kernelArguments'>;
  readonly mac?: Mac;
  readonly server: Ipv4;
  readonly httpPort: number;
  readonly token: string;
  /** What the node's own settings add to its image's. */
  readonly configuration?: BootConfiguration;
  /** The board is to fetch boot.img in place of its many files. */
  readonly bootRamdisk?: boolean;
}

/**
 * config.txt of a Pi. Plain ASCII (firmware stops at the first other byte), under 4096 bytes, short lines. The
 * initramfs line is explicit: auto_initramfs and os_prefix double the prefix in some builds.
 */
export function renderConfigTxt(facts: BootFacts): string {
  return [
    `# ${facts.node}: ${facts.image.name} ${shortDigest(facts.image.digest)}`,
    'enable_uart=1',
    ...piKernelLines(facts.image),
    ...(facts.bootRamdisk ? [bootRamdiskLine] : []),
    ...(facts.image.configTxt ?? []),
    ...(facts.configuration?.configTxt ?? []),
    '',
  ].join('\n');
}

/** What holds for a node as the boot loader's texts take it; undefined when its settings say nothing. */
export function bootConfiguration({ kernelArguments = [], configTxt = [] }: NodeSettings): BootConfiguration | undefined {
  const lines = configTxt.flatMap(({ models, lines: own }) =>
    models === undefined ? own : [...models.flatMap((model) => [`[${model}]`, ...own]), '[all]'],
  );
  return kernelArguments.length === 0 && lines.length === 0 ? undefined : { kernelArguments, configTxt: lines };
}

const bootRamdiskLine = 'boot_ramdisk=1';

/** config.txt within boot.img is the same without the line that leads to boot.img, or the board would look for another. */
export function innerConfigTxt(outer: string): string {
  return outer.replace(`${bootRamdiskLine}\n`, '');
}

/** cmdline.txt: one line. */
export function renderCmdlineTxt(facts: BootFacts): string {
  return `${['console=tty0', `console=${serialConsole(facts.image)},115200`, ...kernelArguments(facts)].join(' ')}\n`;
}

function kernelArguments(facts: BootFacts): string[] {
  return [
    'net.ifnames=0',
    'panic=30',
    ...(facts.image.kernelArguments ?? []),
    ...(facts.configuration?.kernelArguments ?? []),
    `cardless.server=http://${facts.server}:${facts.httpPort}`,
    `cardless.token=${facts.token}`,
    // PXELINUX's convention for "the NIC that booted": hardware type, then the MAC with dashes.
    ...(facts.mac ? [`BOOTIF=01-${facts.mac.replaceAll(':', '-')}`] : []),
  ];
}

/** The first script: the same for every PC, so that it can be named in a DHCP offer. */
export function renderIpxeStart(server: Ipv4, httpPort: number): string {
  const url = `http://${server}:${httpPort}/ipxe/boot`;
  const query = ['mac=${netX/mac}', 'uuid=${uuid}'].join('&');
  return [
    '#!ipxe',
    `chain --autofree --replace ${url}?${query} || goto again`,
    ':again',
    'sleep 5',
    `chain ${url}?${query} || goto again`,
    '',
  ].join('\n');
}

/**
 * The console of a PC. On arm64 the kernel finds it itself: ACPI's SPCR table or the device tree names it, which no
 * argument of ours could, and any argument would switch that off.
 */
function pcArguments(facts: BootFacts): string {
  const console = facts.image.arch === 'amd64' ? ['console=tty0', 'console=ttyS0,115200'] : [];
  return [...console, ...kernelArguments(facts)].join(' ');
}

function title(facts: BootFacts): string {
  return `Cardless: ${facts.node} boots ${facts.image.name} ${shortDigest(facts.image.digest)}`;
}

export function renderIpxeBoot(facts: BootFacts): string {
  const base = `http://${facts.server}:${facts.httpPort}/boot/${facts.token}`;
  return [
    '#!ipxe',
    `echo ${title(facts)}`,
    `kernel ${base}/${kernelFiles[facts.image.arch]} initrd=initramfs.img ${pcArguments(facts)} || goto failed`,
    `initrd --name initramfs.img ${base}/initramfs.img || goto failed`,
    'boot || goto failed',
    ':failed',
    'echo Cardless: boot failed, trying again in 10 seconds',
    'sleep 10',
    'reboot',
    '',
  ].join('\n');
}

/**
 * grub.cfg. `linux` and `initrd` by HTTP, which is not lock-step; a signed GRUB has no other way to say "else" than
 * trying again.
 */
export function renderGrubCfg(facts: BootFacts): string {
  const base = `(http,${facts.server}:${facts.httpPort})/boot/${facts.token}`;
  return [
    `echo '${title(facts)}'`,
    `if linux ${base}/${kernelFiles[facts.image.arch]} ${pcArguments(facts)}; then`,
    `  if initrd ${base}/initramfs.img; then`,
    '    boot',
    '  fi',
    'fi',
    "echo 'Cardless: boot failed, trying again in 10 seconds'",
    'sleep 10',
    'reboot',
    '',
  ].join('\n');
}

/**
 * pxelinux.cfg/01-<mac> for U-Boot. Its booti takes a gzip'd kernel only where the board's environment has a place to
 * unpack it, so the kernel of an arm64 image is the plain one. Without fdtdir's file it uses its own device tree.
 */
export function renderPxelinuxCfg(facts: BootFacts): string {
  return [
    `menu title ${title(facts)}`,
    'default cardless',
    'prompt 0',
    'timeout 1',
    'label cardless',
    `  kernel /${facts.image.arch === 'arm64' ? plainKernelFile : kernelFiles[facts.image.arch]}`,
    '  initrd /initramfs.img',
    `  fdtdir /${deviceTreeDirectory}`,
    `  append ${pcArguments(facts)}`,
    '',
  ].join('\n');
}

/** Not in an image: unpacked from its kernel when it is asked for. */
export const plainKernelFile = 'Image';
/** U-Boot looks below it for `vendor/board.dtb`; images have them without the vendor. */
export const deviceTreeDirectory = 'dtbs';

/** For a PC that nobody registered: it stays on, and boots as soon as somebody does. */
export function renderIpxeUnknown(identity: string): string {
  return ['#!ipxe', `echo Cardless: this machine is not registered (${identity})`, 'sleep 15', 'reboot', ''].join('\n');
}
