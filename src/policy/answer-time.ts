/** What to say when a node asks for the time. This machine's clock is worth as much as what it was set by. */
import { contains, type Ipv4, type Subnet } from '../domain/ipv4.ts';
import { Leap, NtpMode, type NtpReply, type NtpRequest } from '../protocol/ntp/packet.ts';

export interface ClockState {
  readonly isSynchronised: boolean;
  /** Of this machine; undefined when nobody can tell. */
  readonly stratum?: number | undefined;
  /** Four bytes that name what it was set by. */
  readonly referenceId?: Buffer | undefined;
  readonly maxErrorSeconds: number;
  readonly leap: Leap;
}

export interface TimeFacts {
  readonly client: Ipv4;
  readonly served: readonly Subnet[];
  /** Our clock is the time here, also while nobody has set it. */
  readonly isLocal: boolean;
  readonly clock: ClockState;
  readonly nowMs: number;
}

export type TimeAnswer =
  | { readonly kind: 'reply'; readonly reply: NtpReply }
  | { readonly kind: 'silence'; readonly reason: 'not-served' | 'not-a-question' };

/** What chrony's `local` says as well: any clock that was set by somebody is better. */
const localStratum = 10;
/** Beyond it a clock counts as not synchronised (RFC 5905 section 7.3). */
const maxStratum = 15;
/** Milliseconds. */
const precision = -10;
const localReference = Buffer.from([127, 127, 1, 1]);
const nothing = Buffer.alloc(4);

export function answerTime(request: NtpRequest, facts: TimeFacts): TimeAnswer {
  const { client, served, nowMs } = facts;
  if (!served.some((subnet) => contains(subnet, client))) {
    return { kind: 'silence', reason: 'not-served' };
  }
  if (request.mode !== NtpMode.Client || request.version < 1 || request.version > 4) {
    return { kind: 'silence', reason: 'not-a-question' };
  }
  const common = {
    version: request.version,
    poll: request.poll,
    precision,
    rootDelaySeconds: 0,
    origin: request.transmit,
    receiveMs: nowMs,
    transmitMs: nowMs,
  };
  return { kind: 'reply', reply: { ...common, ...standing(facts) } };
}

function standing({
  clock,
  isLocal,
  nowMs,
}: TimeFacts): Pick<NtpReply, 'leap' | 'stratum' | 'rootDispersionSeconds' | 'referenceId' | 'referenceMs'> {
  if (clock.isSynchronised) {
    const { leap, referenceId = localReference, stratum = localStratum, maxErrorSeconds } = clock;
    return { leap, stratum: Math.min(stratum, maxStratum), rootDispersionSeconds: maxErrorSeconds, referenceId, referenceMs: nowMs };
  }
  if (isLocal) {
    return { leap: Leap.None, stratum: localStratum, rootDispersionSeconds: 0, referenceId: localReference, referenceMs: nowMs };
  }
  // Clients go on asking and do not believe it.
  return { leap: Leap.Unsynchronised, stratum: 0, rootDispersionSeconds: 0, referenceId: nothing, referenceMs: 0 };
}

/** `chronyc -c tracking`: reference id, its name, our stratum. */
export function standingByChrony(csv: string): Pick<ClockState, 'stratum' | 'referenceId'> {
  const [id = '', , stratum = ''] = csv.split(',');
  return /^[0-9A-F]{8}$/.test(id) && /^[1-9]\d?$/.test(stratum) ? { stratum: Number(stratum), referenceId: Buffer.from(id, 'hex') } : {};
}

/** `timedatectl show-timesync -p NTPMessage`: what the server that it asks said of itself. */
export function standingByTimesyncd(text: string): Pick<ClockState, 'stratum'> {
  const said = /\bStratum=(\d+)\b/.exec(text)?.[1];
  return said === undefined || Number(said) === 0 ? {} : { stratum: Number(said) + 1 };
}
