/** receive, decode, answer, encode, send. */
import type { Clock } from '../../domain/clock.ts';
import { DecodeError, messageOf } from '../../domain/errors.ts';
import type { UdpEndpoint, UdpPeer } from '../../net/udp-endpoint.ts';
import { answerTime, type TimeFacts } from '../../policy/answer-time.ts';
import { RateLimit } from '../../policy/rate-limit.ts';
import { decodeNtpRequest, encodeNtpReply } from '../../protocol/ntp/packet.ts';

/** A client that was just started asks a few times, then every half a minute at most. */
const perSecond = 16;
const maxClients = 4096;

export interface TimeServerOptions {
  readonly facts: () => Omit<TimeFacts, 'client' | 'nowMs'>;
  readonly clock: Clock;
  readonly onBadPacket: (reason: string) => void;
}

export class TimeServer {
  readonly #options: TimeServerOptions;
  readonly #rate = new RateLimit({ lines: perSecond, everyMs: 1000, maxKeys: maxClients });
  #answered = 0;
  #refused = 0;

  constructor(options: TimeServerOptions) {
    this.#options = options;
  }

  get status(): { readonly answered: number; readonly refused: number } {
    return { answered: this.#answered, refused: this.#refused };
  }

  receive(data: Buffer, from: UdpPeer, send: UdpEndpoint['send']): void {
    const { clock, facts, onBadPacket } = this.#options;
    const nowMs = clock.now();
    if (this.#rate.take(from.address, nowMs).kind === 'hold') {
      this.#refused += 1;
      return;
    }
    try {
      const answer = answerTime(decodeNtpRequest(data), { ...facts(), client: from.address, nowMs });
      if (answer.kind === 'silence') {
        this.#refused += 1;
        return;
      }
      this.#answered += 1;
      send(encodeNtpReply(answer.reply), from);
    } catch (error) {
      if (!(error instanceof DecodeError)) {
        throw error;
      }
      onBadPacket(messageOf(error));
    }
  }
}
