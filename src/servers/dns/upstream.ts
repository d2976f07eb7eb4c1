/** Asks another name server: by UDP with an id and a port that nobody can guess, and by TCP what does not fit into a datagram. */
import { randomInt } from 'node:crypto';
import { connect } from 'node:net';
import type { Clock } from '../../domain/clock.ts';
import { DecodeError } from '../../domain/errors.ts';
import { openUdpConversation } from '../../net/udp-conversation.ts';
import type { DnsAttempt } from '../../policy/dns-attempts.ts';
import { decodeUpstreamReply, encodeUpstreamQuery, type UpstreamQuestion, type UpstreamReply } from '../../protocol/dns/relayed.ts';
import { Deframer, framed } from './tcp-frames.ts';

const dnsPort = 53;
const maxReplyBytes = 65_535;

/** Undefined: no reply in time, or none that is to this question. */
export async function askUpstream(attempt: DnsAttempt, question: UpstreamQuestion, clock: Clock): Promise<UpstreamReply | undefined> {
  const reply = await askByUdp(attempt, question, clock);
  if (!reply?.isTruncated) {
    return reply;
  }
  return (await askByTcp(attempt, question, clock)) ?? reply;
}

function askByUdp({ upstream, timeoutMs }: DnsAttempt, question: UpstreamQuestion, clock: Clock): Promise<UpstreamReply | undefined> {
  return oneReply(clock, timeoutMs, question, (accept, fail) => {
    const { id, query } = newQuery(question);
    const conversation = openUdpConversation({
      peer: { address: upstream, port: dnsPort },
      onMessage: (data) => accept(id, data),
      onError: fail,
    });
    conversation.send(query);
    return () => conversation.close();
  });
}

function askByTcp({ upstream, timeoutMs }: DnsAttempt, question: UpstreamQuestion, clock: Clock): Promise<UpstreamReply | undefined> {
  return oneReply(clock, timeoutMs, question, (accept, fail) => {
    const { id, query } = newQuery(question);
    const frames = new Deframer(maxReplyBytes);
    const socket = connect({ host: upstream, port: dnsPort });
    socket.on('data', (chunk: Buffer) => {
      for (const message of frames.take(chunk) ?? []) {
        accept(id, message);
      }
    });
    socket.on('error', fail);
    socket.on('close', fail);
    socket.write(framed(query));
    return () => socket.destroy();
  });
}

function newQuery(question: UpstreamQuestion): { readonly id: number; readonly query: Buffer } {
  const id = randomInt(0x1_0000);
  return { id, query: encodeUpstreamQuery(id, question) };
}

type Accept = (id: number, data: Buffer) => void;

function oneReply(
  clock: Clock,
  timeoutMs: number,
  question: UpstreamQuestion,
  open: (accept: Accept, fail: () => void) => () => void,
): Promise<UpstreamReply | undefined> {
  return new Promise((resolve) => {
    const end = (reply: UpstreamReply | undefined): void => {
      cancel();
      close();
      resolve(reply);
    };
    const accept: Accept = (id, data) => {
      const reply = readReply(data);
      // What is no reply to this question may be a forgery; the real one may still come.
      if (reply?.id === id && isSame(reply.question, question.question)) {
        end(reply);
      }
    };
    const cancel = clock.after(timeoutMs, () => end(undefined));
    const close = open(accept, () => end(undefined));
  });
}

function readReply(data: Buffer): UpstreamReply | undefined {
  try {
    return decodeUpstreamReply(data);
  } catch (error) {
    if (error instanceof DecodeError) {
      return undefined;
    }
    throw error;
  }
}

/** Some servers write the question in lower case. */
function isSame(a: Buffer, b: Buffer): boolean {
  return a.toString('latin1').toLowerCase() === b.toString('latin1').toLowerCase();
}
