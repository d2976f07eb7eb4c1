import { readFile } from 'node:fs/promises';
import { DecodeError, UserError } from '../../domain/errors.ts';
import { readPcap } from '../../sim/pcap.ts';
import { replay } from '../../sim/replay.ts';
import type { Context } from '../context.ts';

const listenMs = 3000;

/** Prints every datagram that is sent and every one that comes back. @throws UserError bad-input */
export async function playCapture(context: Context, file: string, interfaceName: string | undefined): Promise<void> {
  if (interfaceName === undefined) {
    throw new UserError('bad-input', '--replay needs an interface to send on', {
      hint: 'cardless sim --interface eth0 --replay boot.pcap',
    });
  }
  const bytes = await readFile(file).catch((error: unknown) => {
    throw new UserError('bad-input', `The capture ${file} cannot be read`, { cause: error });
  });
  const frames = framesOf(bytes, file);
  const { sent, received } = await replay({
    interfaceName,
    frames,
    listenMs,
    signal: context.signal,
    onLine: (line) => (context.json ? context.note(line) : context.print(line)),
  });
  context.print(
    context.json ? JSON.stringify({ ok: received > 0, frames: frames.length, sent, received }) : `${sent} sent, ${received} came back`,
  );
  if (sent === 0) {
    throw new UserError('failed', `${file} has no packet from a client to a boot server`);
  }
}

function framesOf(bytes: Buffer, file: string): ReturnType<typeof readPcap> {
  try {
    return readPcap(bytes);
  } catch (error) {
    if (error instanceof DecodeError) {
      throw new UserError('bad-input', `${file}: ${error.message}`, { cause: error, hint: 'A classic pcap file: tcpdump -w boot.pcap' });
    }
    throw error;
  }
}
