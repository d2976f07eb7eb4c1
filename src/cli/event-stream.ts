/** Server-sent events from the server's Unix socket (HTML Living Standard, 9.2), as far as ours has them. */
import { type IncomingMessage, request } from 'node:http';
import { UserError } from '../domain/errors.ts';

/**
 * The data of each `job` event, until the server or `signal` ends it.
 * @throws UserError unavailable
 */
export async function* jobEvents(socketPath: string, signal: AbortSignal): AsyncGenerator<unknown> {
  const call = request({ socketPath, path: '/api/v1/events', agent: false, signal });
  call.end();
  try {
    const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
    call.on('response', resolve);
    call.on('error', reject);
    const response = await promise;
    if (response.statusCode !== 200) {
      throw new UserError('unavailable', `The server refused to tell its events (HTTP ${response.statusCode ?? 0})`);
    }
    response.setEncoding('utf8');
    let text = '';
    for await (const chunk of response) {
      text += String(chunk);
      const blocks = text.split('\n\n');
      text = blocks.pop() ?? '';
      for (const block of blocks) {
        const data = /^event: job\ndata: (.*)$/m.exec(block)?.[1];
        if (data !== undefined) {
          yield JSON.parse(data);
        }
      }
    }
  } catch (cause) {
    if (signal.aborted || cause instanceof UserError) {
      throw cause;
    }
    throw new UserError('unavailable', 'The server is gone', {
      cause,
      hint: 'cardless job list tells what became of its jobs once it is back',
    });
  } finally {
    call.destroy();
  }
}
