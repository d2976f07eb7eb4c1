/** HTTP as firmware speaks it (RFC 9112): one request on a connection, and a length is needed. */
import { crc32 } from 'node:zlib';
import { UserError } from '../domain/errors.ts';
import { parseIpv4 } from '../domain/ipv4.ts';
import type { Board } from './board.ts';
import type { TcpStream } from './board-network.ts';

const endOfHead = '\r\n\r\n';
/** Scripts are kept, kernels only counted. */
const maxKeptBytes = 65_536;

export interface HttpAnswer {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly size: number;
  readonly crc: number;
  /** The beginning, up to 64 kB. */
  readonly body: Buffer;
}

/** @throws UserError unavailable when the server cannot be reached, failed when its answer is broken */
export async function httpFetch(board: Board, method: 'GET' | 'HEAD', url: string, userAgent: string): Promise<HttpAnswer> {
  board.checkPower();
  const startedAt = board.clock.now();
  const answer = await exchange(board, method, url, userAgent);
  const isFound = answer.status === 200;
  const result = isFound ? (method === 'GET' ? 'found' : 'probed') : 'missing';
  board.options.onEvent({ kind: 'file', name: url, result, bytes: answer.size, ms: board.clock.now() - startedAt });
  if (isFound && method === 'GET') {
    board.bytes += answer.size;
  }
  return answer;
}

async function exchange(board: Board, method: string, url: string, userAgent: string): Promise<HttpAnswer> {
  const target = new URL(url);
  const server = { address: parseIpv4(target.hostname), port: Number(target.port === '' ? '80' : target.port) };
  const done = Promise.withResolvers<HttpAnswer>();
  const reader = new ResponseReader(method === 'HEAD', board.options.onBytes);
  const finish = (): void => {
    try {
      done.resolve(reader.finish(url));
    } catch (error) {
      done.reject(error);
    }
  };
  const connect = board.network.connectTcp;
  if (!connect) {
    throw new UserError('failed', 'This network has no TCP');
  }
  const stream: TcpStream = await connect.call(board.network, server, {
    onData: (data) => {
      reader.take(data);
      if (reader.isComplete) {
        finish();
      }
    },
    onEnd: (error) => (error ? done.reject(error) : finish()),
  });
  const host = `${server.address}${server.port === 80 ? '' : `:${server.port}`}`;
  const head = [`${method} ${target.pathname}${target.search} HTTP/1.1`, `Host: ${host}`, `User-Agent: ${userAgent}`, 'Connection: close'];
  stream.write(Buffer.from(`${head.join('\r\n')}${endOfHead}`, 'latin1'));
  try {
    return await done.promise;
  } finally {
    stream.close();
  }
}

class ResponseReader {
  readonly #isHead: boolean;
  readonly #onBytes: ((count: number) => void) | undefined;
  #head: Buffer = Buffer.alloc(0);
  #parsed: { readonly status: number; readonly headers: ReadonlyMap<string, string> } | undefined;
  #kept: Buffer = Buffer.alloc(0);
  #size = 0;
  #crc = 0;

  constructor(isHead: boolean, onBytes: ((count: number) => void) | undefined) {
    this.#isHead = isHead;
    this.#onBytes = onBytes;
  }

  take(data: Buffer): void {
    if (this.#parsed) {
      this.#takeBody(data);
      return;
    }
    this.#head = Buffer.concat([this.#head, data]);
    const end = this.#head.indexOf(endOfHead);
    if (end !== -1) {
      this.#parsed = parseHead(this.#head.toString('latin1', 0, end));
      this.#takeBody(this.#head.subarray(end + endOfHead.length));
    }
  }

  #takeBody(data: Buffer): void {
    this.#size += data.length;
    this.#crc = crc32(data, this.#crc);
    this.#onBytes?.(data.length);
    if (this.#kept.length < maxKeptBytes) {
      this.#kept = Buffer.concat([this.#kept, data]).subarray(0, maxKeptBytes);
    }
  }

  get #length(): number | undefined {
    const text = this.#parsed?.headers.get('content-length');
    return text === undefined ? undefined : Number(text);
  }

  get isComplete(): boolean {
    return this.#parsed !== undefined && (this.#isHead || (this.#length !== undefined && this.#size >= this.#length));
  }

  /** @throws UserError failed */
  finish(url: string): HttpAnswer {
    const parsed = this.#parsed;
    if (!parsed) {
      throw new UserError('failed', `${url}: the connection ended before an answer came`);
    }
    if (!this.#isHead && this.#length !== undefined && this.#size !== this.#length) {
      throw new UserError('failed', `${url}: ${this.#size} bytes came, Content-Length is ${this.#length}`);
    }
    return { ...parsed, size: this.#size, crc: this.#crc, body: this.#kept };
  }
}

function parseHead(text: string): { status: number; headers: Map<string, string> } {
  const [statusLine = '', ...lines] = text.split('\r\n');
  const headers = new Map<string, string>();
  for (const line of lines) {
    const colon = line.indexOf(':');
    headers.set(line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim());
  }
  return { status: Number(/^HTTP\/1\.[01] (\d{3})/.exec(statusLine)?.[1] ?? 0), headers };
}
