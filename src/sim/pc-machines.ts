/**
 * PCs and arm64 boards without a disk, in QEMU, with the firmware that such machines have: everything from power-on to a
 * kernel is other people's code.
 */
import { access, copyFile, mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { type Child, startChild } from '../process/supervise.ts';
import type { Machine, MachineOptions } from './machines.ts';

const graceMs = 3000;

/** A file of firmware and its variables, as two flash chips. */
interface Flash {
  readonly code: string;
  /** Copied for each machine, which writes to it. */
  readonly variables?: string;
}

interface PcModel {
  readonly title: string;
  readonly program: 'qemu-system-x86_64' | 'qemu-system-aarch64';
  readonly machine: readonly string[];
  readonly nic: string;
  readonly flash?: Flash;
}

const x86: Pick<PcModel, 'program'> = { program: 'qemu-system-x86_64' };
const ovmf: Flash = { code: '/usr/share/OVMF/OVMF_CODE_4M.fd', variables: '/usr/share/OVMF/OVMF_VARS_4M.fd' };
// romfile= keeps QEMU's iPXE out of the way: the firmware's own network stack is the client.
const ownDriver = 'virtio-net-pci,romfile=';
// U-Boot 2023.01 reads the MAC of a virtio-net-pci as its first octet six times.
const ubootNic = 'e1000,romfile=';
const noPxe = ['IPv4', 'IPv6'].flatMap((family) => ['-fw_cfg', `name=opt/org.tianocore/${family}PXESupport,string=n`]);
const virt = ['-machine', 'virt', '-cpu', 'cortex-a72', '-smp', '2'];

const models = {
  'bios-virtio': { ...x86, title: 'SeaBIOS, iPXE ROM, virtio', machine: ['-boot', 'n', '-cpu', 'max'], nic: 'virtio-net-pci' },
  'bios-plain': { ...x86, title: 'SeaBIOS, BIOS PXE, undionly.kpxe', machine: ['-boot', 'n', '-cpu', 'max'], nic: 'virtio-net-pci' },
  'bios-e1000': { ...x86, title: 'SeaBIOS, iPXE ROM, e1000', machine: ['-boot', 'n', '-cpu', 'max'], nic: 'e1000' },
  'ovmf-pxe': { ...x86, title: 'OVMF x64, PXEv4', machine: ['-machine', 'q35', '-cpu', 'max'], nic: ownDriver, flash: ovmf },
  'ovmf-http': { ...x86, title: 'OVMF x64, HTTPv4', machine: ['-machine', 'q35', '-cpu', 'max', ...noPxe], nic: ownDriver, flash: ovmf },
  'ovmf-secure': {
    ...x86,
    title: 'OVMF x64, Secure Boot',
    machine: ['-machine', 'q35,smm=on', '-cpu', 'max', '-global', 'driver=cfi.pflash01,property=secure,value=on'],
    nic: ownDriver,
    flash: { code: '/usr/share/OVMF/OVMF_CODE_4M.secboot.fd', variables: '/usr/share/OVMF/OVMF_VARS_4M.ms.fd' },
  },
  'aavmf-pxe': {
    program: 'qemu-system-aarch64',
    title: 'AAVMF arm64, PXEv4',
    machine: virt,
    nic: ownDriver,
    flash: { code: '/usr/share/AAVMF/AAVMF_CODE.fd', variables: '/usr/share/AAVMF/AAVMF_VARS.fd' },
  },
  'u-boot-pxe': {
    program: 'qemu-system-aarch64',
    title: 'U-Boot arm64, pxelinux.cfg',
    machine: virt,
    nic: ubootNic,
    flash: { code: '/usr/lib/u-boot/qemu_arm64/u-boot.bin' },
  },
  'u-boot-efi': {
    program: 'qemu-system-aarch64',
    title: 'U-Boot arm64, as it comes',
    machine: virt,
    nic: ubootNic,
    flash: { code: '/usr/lib/u-boot/qemu_arm64/u-boot.bin' },
  },
} as const satisfies Record<string, PcModel>;

export type PcModelName = keyof typeof models;

export interface PcMachineOptions extends MachineOptions {
  readonly model: PcModelName;
  /** What somebody saved in U-Boot's environment. */
  readonly environment?: Readonly<Record<string, string>>;
}

export function pcModelTitle(model: PcModelName): string {
  return models[model].title;
}

/** The files of this model that are not on this machine: where there are any, it cannot be run here. */
export async function missingFirmware(model: PcModelName): Promise<string[]> {
  const { flash }: PcModel = models[model];
  const files = flash ? [flash.code, ...(flash.variables === undefined ? [] : [flash.variables])] : [];
  const found = await Promise.all(
    files.map((file) =>
      access(file).then(
        () => true,
        () => false,
      ),
    ),
  );
  return files.filter((_, index) => !found[index]);
}

export class PcMachine implements Machine {
  readonly #options: PcMachineOptions;
  #child: Child | undefined;
  #tap: string | undefined;

  constructor(options: PcMachineOptions) {
    this.#options = options;
  }

  get consoleFile(): string {
    return join(this.#options.directory, 'console.log');
  }

  /** Its port in the lab, once it was on. */
  get tap(): string | undefined {
    return this.#tap;
  }

  async powerOn(): Promise<void> {
    const { lab, mac, serial, directory, onLine } = this.#options;
    const model: PcModel = models[this.#options.model];
    await mkdir(directory, { recursive: true });
    this.#tap ??= await lab.addTap();
    const args = [
      ...['-accel', 'tcg', '-m', '768', '-uuid', serial, ...model.machine, ...(await this.#flash(model.flash))],
      ...['-netdev', `tap,id=net0,ifname=${this.#tap},script=no,downscript=no`, '-device', `${model.nic},netdev=net0,mac=${mac}`],
      ...['-device', 'virtio-rng-pci', '-display', 'none', '-monitor', 'none'],
      ...['-chardev', `file,id=console,path=${this.consoleFile},append=on`, '-serial', 'chardev:console'],
    ];
    const [file, all] = lab.inside(model.program, args);
    this.#child = startChild(file, all, { graceMs, onLine });
  }

  async powerOff(): Promise<void> {
    await this.#child?.stop();
    this.#child = undefined;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.powerOff();
  }

  async #flash(flash: Flash | undefined): Promise<string[]> {
    if (!flash) {
      return [];
    }
    const second = join(this.#options.directory, 'variables.fd');
    const { environment } = this.#options;
    if (flash.variables !== undefined) {
      await copyFile(flash.variables, second);
    } else if (environment) {
      await writeFile(second, ubootEnvironment(environment));
    } else {
      return ['-bios', flash.code];
    }
    const code =
      flash.variables === undefined ? ['-bios', flash.code] : ['-drive', `if=pflash,unit=0,format=raw,readonly=on,file=${flash.code}`];
    return [...code, '-drive', `if=pflash,unit=1,format=raw,file=${second}`];
  }
}

/** As `saveenv` of qemu_arm64 leaves it in the second flash chip: CRC-32 of the rest, then the variables (CONFIG_ENV_SIZE). */
function ubootEnvironment(variables: Readonly<Record<string, string>>): Buffer {
  const size = 0x40000;
  const flashBytes = 64 * 2 ** 20;
  const bytes = Buffer.alloc(flashBytes);
  const text = Object.entries(variables).map(([name, value]) => `${name}=${value}\0`);
  bytes.write(text.join(''), 4, 'latin1');
  bytes.writeUInt32LE(crc32(bytes.subarray(4, size)), 0);
  return bytes;
}
