/** Installs what a command needs: Debian packages by name, found missing by what they bring. */
import { constants } from 'node:fs';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { UserError } from '../domain/errors.ts';
import { ensureBootPrograms } from '../images/boot-programs.ts';
import { run } from '../process/run.ts';
import { type Context, requireRoot } from './context.ts';

/**
 * A tool is a program on the PATH, or a file when it begins with a slash, or either of two with a bar between them;
 * the value is the package that has it.
 */
type Tools = Readonly<Record<string, string>>;

/** What only some boards need: without them the others are served. */
const extras: Tools = {
  'mkfs.vfat': 'dosfstools',
  mcopy: 'mtools',
  '/usr/lib/ipxe/undionly.kpxe': 'ipxe',
  '/usr/share/keyrings/debian-archive-keyring.gpg': 'debian-archive-keyring',
};

const serve: Tools = {
  'nbd-server': 'nbd-server',
  'mkfs.ext4': 'e2fsprogs',
  'ssh-keygen': 'openssh-client',
  ip: 'iproute2',
  perl: 'perl-base',
  setpriv: 'util-linux',
  ...extras,
};

/** For services that are on. */
const gateway: Tools = { nft: 'nftables' };
const kernelNfs: Tools = { exportfs: 'nfs-kernel-server' };
const ganeshaModules = `/usr/lib/${process.arch === 'arm64' ? 'aarch64' : 'x86_64'}-linux-gnu/ganesha`;
const ganesha: Tools = { 'ganesha.nfsd': 'nfs-ganesha', [`${ganeshaModules}/libfsalvfs.so`]: 'nfs-ganesha-vfs' };

const armhfCompiler: Tools = {
  'arm-linux-gnueabihf-gcc': 'gcc-arm-linux-gnueabihf',
  '/usr/arm-linux-gnueabihf/lib/libc.a': 'libc6-dev-armhf-cross',
};

/** The compiler of each architecture and the static C library that it links. */
const compilers: Tools =
  process.arch === 'arm64'
    ? {
        'aarch64-linux-gnu-gcc': 'gcc',
        '/usr/lib/aarch64-linux-gnu/libc.a': 'libc6-dev',
        'x86_64-linux-gnu-gcc': 'gcc-x86-64-linux-gnu',
        '/usr/x86_64-linux-gnu/lib/libc.a': 'libc6-dev-amd64-cross',
        ...armhfCompiler,
      }
    : {
        'x86_64-linux-gnu-gcc': 'gcc',
        '/usr/lib/x86_64-linux-gnu/libc.a': 'libc6-dev',
        'aarch64-linux-gnu-gcc': 'gcc-aarch64-linux-gnu',
        '/usr/aarch64-linux-gnu/lib/libc.a': 'libc6-dev-arm64-cross',
        ...armhfCompiler,
      };

const build: Tools = {
  mmdebstrap: 'mmdebstrap',
  'arch-test': 'arch-test',
  // Debian 13 dropped the suffix: there the plain ones are static.
  [process.arch === 'arm64' ? 'qemu-x86_64-static|qemu-x86_64' : 'qemu-aarch64-static|qemu-aarch64']: 'qemu-user-static',
  'qemu-arm-static|qemu-arm': 'qemu-user-static',
  'update-binfmts': 'binfmt-support',
  '/usr/share/keyrings/debian-archive-keyring.gpg': 'debian-archive-keyring',
  'mkfs.erofs': 'erofs-utils',
  mksquashfs: 'squashfs-tools',
  cpio: 'cpio',
  xz: 'xz-utils',
  zstd: 'zstd',
  depmod: 'kmod',
  setpriv: 'util-linux',
  getfattr: 'attr',
  ...compilers,
};

/** Images out of systems that others made. */
const importing: Tools = {
  'mkfs.erofs': 'erofs-utils',
  mksquashfs: 'squashfs-tools',
  mmdebstrap: 'mmdebstrap',
  cpio: 'cpio',
  xz: 'xz-utils',
  zstd: 'zstd',
  bzip2: 'bzip2',
  depmod: 'kmod',
  mcopy: 'mtools',
  setfattr: 'attr',
  setpriv: 'util-linux',
  '/usr/share/keyrings/debian-archive-keyring.gpg': 'debian-archive-keyring',
  ...compilers,
};

const demo: Tools = {
  'qemu-system-aarch64': 'qemu-system-arm',
  'qemu-system-x86_64': 'qemu-system-x86',
  '/usr/lib/ipxe/qemu/pxe-virtio.rom|/usr/share/qemu/pxe-virtio.rom': 'ipxe-qemu',
  '/usr/share/seabios/bios-256k.bin': 'seabios',
  ssh: 'openssh-client',
};

const test: Tools = {
  dnsmasq: 'dnsmasq-base',
  tftp: 'tftp-hpa',
  tcpdump: 'tcpdump',
  nft: 'nftables',
  '/usr/share/OVMF/OVMF_CODE_4M.secboot.fd': 'ovmf',
  '/usr/share/AAVMF/AAVMF_CODE.fd': 'qemu-efi-aarch64',
  '/usr/lib/u-boot/qemu_arm64/u-boot.bin': 'u-boot-qemu',
  dig: 'bind9-dnsutils',
  'nfs-ls': 'libnfs-utils',
  ntpdig: 'ntpsec-ntpdig',
  udhcpc: 'udhcpc',
  curl: 'curl',
  python3: 'python3',
  pgrep: 'procps',
  ss: 'iproute2',
  dhclient: 'isc-dhcp-client',
  dhcpcd: 'dhcpcd-base',
  '/lib/systemd/systemd-networkd': 'systemd',
  atftp: 'atftp',
  busybox: 'busybox',
  sfdisk: 'fdisk',
  'mkfs.btrfs': 'btrfs-progs',
  nodeset: 'clustershell',
  nodeattr: 'genders',
  'ansible-inventory': 'ansible-core',
};

/** tftpd-hpa and Kea are fetched by the bench itself: installed, they would start services. */
const bench: Tools = {
  gcc: 'gcc',
  '/usr/include/stdio.h': 'libc6-dev',
  dnsmasq: 'dnsmasq-base',
};

/** LTSP, NFS and what else the peers need is installed in trees of their own. */
const rootbench: Tools = {
  gcc: 'gcc',
  '/usr/include/stdio.h': 'libc6-dev',
  tc: 'iproute2',
};

const purposes = {
  serve,
  gateway,
  'nfs-kernel-server': kernelNfs,
  'nfs-ganesha': ganesha,
  build,
  import: importing,
  demo: { ...serve, ...build, ...demo },
  test: { ...serve, ...build, ...importing, ...demo, ...ganesha, ...test, ...bench },
  bench: { ...serve, ...bench },
  rootbench: { ...serve, ...build, ...demo, ...rootbench },
} as const;
export type Purpose = keyof typeof purposes;

export const purposeNames: readonly Purpose[] = [
  'serve',
  'gateway',
  'nfs-kernel-server',
  'nfs-ganesha',
  'build',
  'import',
  'demo',
  'test',
  'bench',
  'rootbench',
];

/** Those that run programs of both architectures. */
const foreignPurposes: readonly Purpose[] = ['build', 'demo', 'test', 'rootbench'];

/** Installs what is missing for this purpose. @throws UserError when apt cannot */
export async function ensureTools(purpose: Purpose, context: Context): Promise<void> {
  const missing = await missingPackages(purposes[purpose], context.env);
  if (missing.length > 0) {
    requireRoot(`Installing ${missing.join(', ')}`);
    try {
      await install(purpose, missing, context);
    } catch (error) {
      const needed = purpose === 'serve' ? missing.filter((name) => !Object.values(extras).includes(name)) : missing;
      if (!(error instanceof UserError) || error.code === 'cancelled' || needed.length > 0) {
        throw error;
      }
      context.note(`without ${missing.join(', ')}, which some boards need: ${error.message}`);
    }
  }
  if (foreignPurposes.includes(purpose)) {
    await enableForeignPrograms(context);
  }
  if (purpose === 'test') {
    await ensureBootPrograms({ cache: context.places.cache, signal: context.signal, note: context.note });
  }
}

async function install(purpose: Purpose, missing: readonly string[], context: Context): Promise<void> {
  context.note(`installing ${missing.join(', ')}`);
  const options = { signal: context.signal, env: { DEBIAN_FRONTEND: 'noninteractive' } };
  await run('apt-get', ['update', '-q'], options);
  await run('apt-get', ['install', '-y', '-q', '--no-install-recommends', ...missing], options);
  const still = await missingPackages(purposes[purpose], context.env);
  if (still.length > 0) {
    throw new UserError('failed', `These packages were installed but do not bring what is needed: ${still.join(', ')}`);
  }
}

/**
 * Before a lab is made, where there is no network to download from. Raspberry Pis boot without them, and so does whatever
 * the installed iPXE is for: no reason to serve nobody.
 */
export async function downloadBootPrograms(context: Context): Promise<void> {
  try {
    await ensureBootPrograms({ cache: context.places.cache, signal: context.signal, note: context.note });
  } catch (error) {
    if (!(error instanceof UserError) || error.code === 'cancelled') {
      throw error;
    }
    context.note(`no boot programs for arm64 PCs and Secure Boot; the next start tries again: ${error.message}`);
  }
}

async function missingPackages(tools: Tools, env: NodeJS.ProcessEnv): Promise<string[]> {
  // Root's PATH may lack the sbin folders when a user's own was kept by sudo.
  const folders = `${env['PATH'] ?? ''}:/usr/sbin:/sbin`.split(':').filter((folder) => folder !== '');
  const missing = new Set<string>();
  for (const [tool, packageName] of Object.entries(tools)) {
    const places = tool.split('|').flatMap((name) => (name.startsWith('/') ? [name] : folders.map((folder) => join(folder, name))));
    const found = await Promise.all(
      places.map((place) =>
        access(place, tool.startsWith('/') ? constants.R_OK : constants.X_OK).then(
          () => true,
          () => false,
        ),
      ),
    );
    if (!found.includes(true)) {
      missing.add(packageName);
    }
  }
  return [...missing].toSorted();
}

/** By which interpreter this machine runs programs of Debian's other architectures. */
const foreignFormats: Readonly<Record<string, string>> =
  process.arch === 'arm64' ? { amd64: 'qemu-x86_64', armhf: 'qemu-arm' } : { arm64: 'qemu-aarch64', armhf: 'qemu-arm' };

/** Programs of other architectures run through qemu-user; minimal systems do not mount binfmt_misc. */
async function enableForeignPrograms(context: Context): Promise<void> {
  for (const [foreign, format] of Object.entries(foreignFormats)) {
    const works = await run('arch-test', [foreign]).then(
      () => true,
      () => false,
    );
    if (!works) {
      await enableFormat(foreign, format, context).catch((error: unknown) => {
        // Nothing but an image for 32-bit boards needs it, and mmdebstrap then says so.
        if (foreign !== 'armhf' || !(error instanceof UserError) || error.code === 'cancelled') {
          throw error;
        }
        context.note(`armhf programs do not run on this machine: ${error.message}`);
      });
    }
  }
}

async function enableFormat(foreign: string, format: string, context: Context): Promise<void> {
  requireRoot('Enabling programs of another architecture');
  context.note(`enabling ${foreign} programs through qemu-user-static`);
  const register = '/proc/sys/fs/binfmt_misc/register';
  const mounted = await access(register).then(
    () => true,
    () => false,
  );
  if (!mounted) {
    await run('mount', ['-t', 'binfmt_misc', 'binfmt_misc', '/proc/sys/fs/binfmt_misc']);
  }
  // Debian 13 registers formats through systemd-binfmt's files, Debian 12 through its own.
  await run('update-binfmts', ['--import', format]).catch(() => '');
  await run('update-binfmts', ['--enable', format]).catch(() => '');
  await run('arch-test', [foreign]).catch(async () => {
    await run('/usr/lib/systemd/systemd-binfmt', []);
    await run('arch-test', [foreign]);
  });
}
