/** As much of iPXE's script language as it takes to get to a kernel: fetches, labels, jumps on failure, two settings. */
import { messageOf, UserError } from '../domain/errors.ts';
import type { Board, Booted } from './board.ts';
import { type HttpAnswer, httpFetch } from './http-client.ts';

const userAgent = 'iPXE/1.21.1+';
/** Loops of "try again" end somewhere. */
const maxSteps = 60;

interface Running {
  lines: readonly string[];
  at: number;
  kernelBytes: number;
  initramfsBytes: number;
}

/** @throws UserError failed when the script does not come to `boot` */
export async function runIpxeScript(board: Board, url: string): Promise<Booted> {
  const running: Running = { lines: await readScript(board, url), at: 0, kernelBytes: 0, initramfsBytes: 0 };
  for (let step = 0; step < maxSteps && running.at < running.lines.length; step += 1) {
    const line = running.lines[running.at] ?? '';
    running.at += 1;
    const [command = '', otherwise] = line.split('||').map((part) => part.trim());
    try {
      if (await runCommand(board, running, command)) {
        return { address: board.address, server: board.server, kernelBytes: running.kernelBytes, initramfsBytes: running.initramfsBytes };
      }
    } catch (error) {
      if (!(error instanceof UserError) || otherwise === undefined || error.code === 'cancelled') {
        throw error;
      }
      board.options.onEvent({ kind: 'restart', why: messageOf(error) });
      await runCommand(board, running, otherwise);
    }
  }
  throw new UserError('failed', 'The iPXE script ended without booting anything');
}

/** True when the kernel starts. */
async function runCommand(board: Board, running: Running, text: string): Promise<boolean> {
  const [command = '', ...words] = expand(board, text).split(/\s+/);
  const target = words.find((word, index) => !word.startsWith('--') && words[index - 1] !== '--name') ?? '';
  switch (command) {
    case 'chain':
      running.lines = await readScript(board, target);
      running.at = 0;
      return false;
    case 'kernel':
      running.kernelBytes = (await need(board, target)).size;
      return false;
    case 'initrd':
      running.initramfsBytes += (await need(board, target)).size;
      return false;
    case 'goto':
      running.at = running.lines.indexOf(`:${target}`);
      if (running.at === -1) {
        throw new UserError('failed', `The iPXE script has no label "${target}"`);
      }
      return false;
    case 'sleep':
      await board.wait(Number(target) * 1000);
      return false;
    case 'boot':
      if (running.kernelBytes === 0) {
        throw new UserError('failed', 'The iPXE script boots without a kernel');
      }
      return true;
    case 'reboot':
    case 'exit':
      throw new UserError('failed', `The iPXE script says "${command}": ${running.lines.find((line) => line.startsWith('echo')) ?? ''}`);
    default:
      // echo, labels, comments, and settings that nothing here depends on.
      return false;
  }
}

function expand(board: Board, text: string): string {
  const { mac, serial } = board.options;
  return text.replaceAll(/\$\{(?:netX|net0)\/mac\}/g, mac).replaceAll('${uuid}', serial);
}

async function readScript(board: Board, url: string): Promise<string[]> {
  const answer = await need(board, expand(board, url));
  const lines = answer.body.toString('latin1').split('\n');
  if (lines[0]?.trim() !== '#!ipxe') {
    throw new UserError('failed', `${url} is not an iPXE script`);
  }
  return lines.map((line) => line.trim());
}

async function need(board: Board, url: string): Promise<HttpAnswer> {
  const answer = await httpFetch(board, 'GET', url, userAgent);
  if (answer.status !== 200) {
    throw new UserError('failed', `${url}: status ${answer.status}`);
  }
  return answer;
}
