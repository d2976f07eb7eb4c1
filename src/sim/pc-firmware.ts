/** PCs from power-on to what their firmware loads: PXE ROM of a BIOS, EDK2 by TFTP and by HTTP, iPXE. */
import { UserError } from '../domain/errors.ts';
import { anyAddress } from '../domain/ipv4.ts';
import { type Board, type Booted, needed } from './board.ts';
import type { Request } from './dhcp-wire.ts';
import { httpFetch } from './http-client.ts';
import { runIpxeScript } from './ipxe-script.ts';
import type { PcModel } from './models.ts';
import { type BootInfo, fileOf, type Heard, type PcDhcpStyle, pcDhcp } from './pc-dhcp.ts';
import { type TftpOption, userAborted } from './tftp-wire.ts';

const edk2WindowsMs = [4000, 8000, 16_000, 32_000];
const romWindowsMs = [2000, 4000, 8000, 16_000];
/** iPXE waits 2 s for a proxy when the lease has nothing to boot (dhcp.c). */
const ipxeWindowsMs = [2000, 4000, 8000];
const pcTiming = { requestEveryMs: 4000, ackEveryMs: 4000, silenceMs: 24_000 };
/** The ROM of a BIOS aborts its question for the size like this. */
const tftpAborted = { code: 0, message: 'TFTP Aborted' };
const requestList = [
  1, 2, 3, 4, 5, 6, 12, 13, 15, 17, 18, 22, 23, 28, 40, 41, 42, 43, 50, 51, 54, 58, 59, 60, 66, 67, 97, 128, 129, 130, 131, 132, 133, 134,
  135,
];

export async function bootPc(board: Board, model: PcModel): Promise<Booted> {
  switch (model.firmware) {
    case 'pxe-rom':
      return await bootPxeRom(board, model);
    case 'edk2':
      return await bootEdk2(board, model);
    case 'edk2-http':
      return await bootEdk2Http(board, model);
    default:
      return await bootIpxe(board, model.pxeArch);
  }
}

async function bootPxeRom(board: Board, model: PcModel): Promise<Booted> {
  const style = pxeStyle(board, 'pxe', model.pxeArch, 'PXEClient', '002001', romWindowsMs);
  const { file } = await pcDhcp(board, style);
  const how = { timing: pcTiming, strictDuplicates: false, noWrap: false };
  await board.fetch(file, { ...how, ask: [['tsize', '0']], probe: tftpAborted });
  const program = needed(await board.fetch(file, { ...how, ask: [['blksize', '1456']] }), file);
  return await goOn(board, model.pxeArch, file, program.size);
}

async function bootEdk2(board: Board, model: PcModel): Promise<Booted> {
  const style = pxeStyle(board, 'uefi', model.pxeArch, 'PXEClient', '003000', edk2WindowsMs);
  const { file } = await pcDhcp(board, style);
  const how = { timing: pcTiming, strictDuplicates: false, strictOack: true, noWrap: false };
  const options: TftpOption[] = [
    ['blksize', '1468'],
    ['windowsize', '4'],
  ];
  const probe = await board.fetch(file, { ...how, ask: [['tsize', '0'], ...options], probe: userAborted });
  if (probe.kind === 'probed' && probe.size === undefined) {
    throw new UserError('failed', `${file}: EDK2 goes by the size in the OACK, and there is none`);
  }
  const program = needed(await board.fetch(file, { ...how, ask: options }), file);
  if (probe.kind === 'probed' && probe.size !== program.size) {
    board.complain(`${file}: the OACK said ${probe.size} bytes, ${program.size} came`);
  }
  return await goOn(board, model.pxeArch, file, program.size);
}

/** What was loaded runs. Of what it may be, iPXE is the one that can be played. */
async function goOn(board: Board, pxeArch: number, file: string, size: number): Promise<Booted> {
  if (/undionly|ipxe|snponly/.test(file)) {
    return await bootIpxe(board, pxeArch);
  }
  return { address: board.address, server: board.server, kernelBytes: size, initramfsBytes: 0 };
}

/** HttpBootDxe: a HEAD for size and type, then a GET. */
async function bootEdk2Http(board: Board, model: PcModel): Promise<Booted> {
  const style = pxeStyle(board, 'uefi-http', model.pxeArch, 'HTTPClient', '003000', edk2WindowsMs);
  const { file: url } = await pcDhcp(board, style);
  if (!/^http:\/\//.test(url)) {
    throw new UserError('failed', `uefi-http: "${url}" is not an absolute http URL`);
  }
  const head = await httpFetch(board, 'HEAD', url, 'UefiHttpBoot/1.0');
  if (head.status !== 200 || !head.headers.has('content-length')) {
    throw new UserError(
      'failed',
      `${url}: HEAD gave status ${head.status}${head.headers.has('content-length') ? '' : ' and no Content-Length'}`,
    );
  }
  const type = head.headers.get('content-type') ?? '';
  if (!/^application\/(efi|vnd\.efi-iso|vnd\.efi-img)\b/.test(type) && !/\.(efi|iso|img)$/i.test(new URL(url).pathname)) {
    throw new UserError('failed', `${url}: neither its type "${type}" nor its name says what it is`);
  }
  const answer = await httpFetch(board, 'GET', url, 'UefiHttpBoot/1.0');
  if (answer.status !== 200 || answer.size !== Number(head.headers.get('content-length'))) {
    board.complain(`${url}: HEAD said ${head.headers.get('content-length')} bytes, GET gave ${answer.size} with status ${answer.status}`);
  }
  return await goOn(board, model.pxeArch, new URL(url).pathname, answer.size);
}

async function bootIpxe(board: Board, pxeArch: number): Promise<Booted> {
  // A boot ROM's stack ends with it, and so does its address.
  await board.network.setAddress(anyAddress, anyAddress);
  const plain = pxeStyle(board, 'ipxe', pxeArch, 'PXEClient', '002001', ipxeWindowsMs);
  const features = Buffer.from([0x13, 0x01, 0x01, 0x18, 0x01, 0x01, 0x21, 0x01, 0x01]);
  const options: Request['options'] = [...plain.options, [77, 'iPXE'], [175, features]];
  const hasFile = ({ reply }: Heard): boolean => fileOf(reply) !== '';
  // A proxy's offer that names a file is used at once, and so is a lease that has one.
  const isEnough = (offers: readonly Heard[]): boolean => offers.some(hasFile) && offers.some(({ reply }) => reply.yiaddr !== anyAddress);
  const info: BootInfo = await pcDhcp(board, { ...plain, options, isEnough });
  if (!/^http:\/\//.test(info.file)) {
    throw new UserError('failed', `iPXE was told to boot "${info.file}", which is not a script by HTTP`);
  }
  return await runIpxeScript(board, info.file);
}

function pxeStyle(board: Board, stage: string, arch: number, vendorClass: string, undi: string, windowsMs: readonly number[]): PcDhcpStyle {
  const uuid = Buffer.from(board.options.serial.replaceAll('-', ''), 'hex');
  return {
    stage,
    windowsMs,
    vendorClass,
    // EDK2 and ROMs take their time and then choose the best.
    isEnough: () => false,
    options: [
      [55, requestList],
      [57, [0x05, 0xc0]],
      [97, Buffer.concat([Buffer.from([0]), uuid])],
      [93, [arch >> 8, arch & 0xff]],
      [94, [1, Number(undi.slice(2, 3)), Number(undi.slice(3)) % 256]],
      [60, `${vendorClass}:Arch:${String(arch).padStart(5, '0')}:UNDI:${undi}`],
    ],
  };
}
