/** TFTP clients that nobody here wrote, by what they are told on their command line. */
import { join } from 'node:path';
import { projectRoot } from '#src/config/places.ts';

export interface TftpRequest {
  readonly host: string;
  readonly port: number;
  readonly file: string;
  /** The local file. */
  readonly local: string;
  readonly blksize?: number;
  readonly windowsize?: number;
}

type Command = readonly [string, readonly string[]];

export interface TftpTool {
  /** The smallest first. None: it sends no options, so every block has 512 bytes (RFC 1350). */
  readonly blksizes: readonly number[];
  /** It takes the `tsize 0` of an empty file for an error (curl, lib/tftp.c: "invalid tsize -:0:- value in OACK packet"). */
  readonly refusesEmptyFiles?: true;
  readonly windowsizes: readonly number[];
  readonly get: (request: TftpRequest) => Command;
  readonly put: (request: TftpRequest) => Command;
  /** What it prints, or its exit code, for ERROR 1 and ERROR 2. */
  readonly missing: RegExp;
  readonly refused: RegExp;
}

const blksizes = [8, 512, 1024, 1428, 1468, 65_464];

function hpa(request: TftpRequest, verb: 'get' | 'put'): Command {
  const files = verb === 'get' ? [request.file, request.local] : [request.local, request.file];
  return ['tftp', ['-m', 'binary', '-v', request.host, String(request.port), '-c', verb, ...files]];
}

function atftp(request: TftpRequest, verb: 'get' | 'put'): Command {
  const wanted = { blksize: request.blksize, windowsize: request.windowsize };
  const options = Object.entries(wanted).flatMap(([name, value]) => (value === undefined ? [] : ['--option', `${name} ${value}`]));
  const files = ['--remote-file', request.file, '--local-file', request.local];
  return ['atftp', [...options, '--verbose', `--${verb}`, ...files, request.host, String(request.port)]];
}

function curl(request: TftpRequest, args: readonly string[]): Command {
  const options = request.blksize === undefined ? ['--tftp-no-options'] : ['--tftp-blksize', String(request.blksize)];
  const url = `tftp://${request.host}:${request.port}/${request.file}`;
  return ['curl', ['-sS', '--path-as-is', '-w', 'curl exit code %{exitcode}', ...options, ...args, url]];
}

function busybox(request: TftpRequest, verb: 'g' | 'p'): Command {
  const options = request.blksize === undefined ? [] : ['-b', String(request.blksize)];
  return ['busybox', ['tftp', `-${verb}`, ...options, '-r', request.file, '-l', request.local, request.host, String(request.port)]];
}

function npm(request: TftpRequest, verb: 'get' | 'put'): Command {
  const { host, port, file, local, blksize = 512, windowsize = 1 } = request;
  const args = [verb, host, String(port), file, local, String(blksize), String(windowsize)];
  return [process.execPath, [join(projectRoot, 'test/support/npm-tftp.ts'), ...args]];
}

export const tftpTools: Readonly<Record<string, TftpTool>> = {
  'tftp-hpa': {
    blksizes: [],
    windowsizes: [],
    get: (request) => hpa(request, 'get'),
    put: (request) => hpa(request, 'put'),
    missing: /Error code 1: /,
    refused: /Error code 2: /,
  },
  atftp: {
    blksizes,
    windowsizes: [1, 2, 8, 64],
    get: (request) => atftp(request, 'get'),
    put: (request) => atftp(request, 'put'),
    missing: /error received from server <File not found>/,
    refused: /error received from server <This server is read-only>/,
  },
  curl: {
    blksizes,
    refusesEmptyFiles: true,
    windowsizes: [],
    get: (request) => curl(request, ['-o', request.local]),
    put: (request) => curl(request, ['-T', request.local]),
    missing: /curl exit code 68/,
    refused: /curl exit code 69/,
  },
  busybox: {
    // It puts the file name into a buffer of one block.
    blksizes: [128, ...blksizes.slice(1)],
    windowsizes: [],
    get: (request) => busybox(request, 'g'),
    put: (request) => busybox(request, 'p'),
    missing: /server error: \(1\) /,
    refused: /server error: \(2\) /,
  },
  'npm tftp': {
    blksizes,
    windowsizes: [1, 4, 16],
    get: (request) => npm(request, 'get'),
    put: (request) => npm(request, 'put'),
    missing: /\(Server\) File not found/,
    refused: /\(Server\) This server is read-only/,
  },
};
