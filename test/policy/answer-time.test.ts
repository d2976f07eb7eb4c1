import { describe, expect, test } from 'vitest';
import { parseIpv4, parseSubnet } from '#src/domain/ipv4.ts';
import { answerTime, type ClockState, standingByChrony, standingByTimesyncd, type TimeFacts } from '#src/policy/answer-time.ts';
import { serviceFiles } from '#src/policy/render-service-files.ts';
import type { NtpReply, NtpRequest } from '#src/protocol/ntp/packet.ts';

const synchronised: ClockState = {
  isSynchronised: true,
  stratum: 3,
  referenceId: Buffer.from([192, 0, 2, 1]),
  maxErrorSeconds: 0.25,
  leap: 1,
};
const lost: ClockState = { isSynchronised: false, stratum: 3, maxErrorSeconds: 16, leap: 0 };
const facts: TimeFacts = {
  client: parseIpv4('10.78.0.20'),
  served: [parseSubnet('10.78.0.0/24')],
  isLocal: false,
  clock: synchronised,
  nowMs: 1_800_000_000_123,
};
const request: NtpRequest = { version: 4, mode: 3, poll: 6, transmit: Buffer.from('0123456789abcdef', 'hex') };

function reply(change: Partial<TimeFacts>): NtpReply {
  const answer = answerTime(request, { ...facts, ...change });
  if (answer.kind !== 'reply') {
    throw new Error(answer.reason);
  }
  return answer.reply;
}

describe('what the clock is worth', () => {
  test('synchronised: the stratum, the error and the leap second of this machine', () => {
    expect(reply({})).toMatchObject({ leap: 1, stratum: 3, rootDispersionSeconds: 0.25, receiveMs: 1_800_000_000_123 });
    expect(reply({}).referenceId).toEqual(Buffer.from([192, 0, 2, 1]));
    expect(reply({}).origin).toEqual(request.transmit);
  });
  test('synchronised by somebody who does not tell: a stratum that any other server beats', () => {
    expect(reply({ clock: { ...synchronised, stratum: undefined } }).stratum).toBe(10);
  });
  test('not synchronised: said so, and no client believes it', () => {
    expect(reply({ clock: lost })).toMatchObject({ leap: 3, stratum: 0 });
  });
  test('not synchronised, but the only clock here', () => {
    expect(reply({ clock: lost, isLocal: true })).toMatchObject({ leap: 0, stratum: 10, rootDispersionSeconds: 0 });
    expect(reply({ isLocal: true }).stratum).toBe(3);
  });
});

test.each([
  ['a stranger', { client: parseIpv4('10.79.0.20') }, {}, 'not-served'],
  ['a server', {}, { mode: 4 }, 'not-a-question'],
  ['a control message, whose answers are large', {}, { mode: 6 }, 'not-a-question'],
  ['monlist', {}, { mode: 7 }, 'not-a-question'],
  ['a version of the future', {}, { version: 5 }, 'not-a-question'],
])('%s hears nothing', (_who, changed, asked, reason) => {
  expect(answerTime({ ...request, ...asked }, { ...facts, ...changed })).toEqual({ kind: 'silence', reason });
});

test('what the keepers of the clock say of it', () => {
  const tracking = 'C0000201,192.0.2.1,3,1800000000.1,0.000012,0.00002,0.00003,-1.2,0.0,0.01,0.02,0.001,64.2,Normal';
  expect(standingByChrony(tracking)).toEqual({ stratum: 3, referenceId: Buffer.from([192, 0, 2, 1]) });
  expect(standingByChrony('00000000,,0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,1.0,1.0,0.0,Not synchronised')).toEqual({});
  expect(standingByChrony('506 Cannot talk to daemon')).toEqual({});
  expect(standingByTimesyncd('NTPMessage={ Leap=0, Version=4, Mode=4, Stratum=2, Precision=-24, RootDelay=1ms }')).toEqual({ stratum: 3 });
  expect(standingByTimesyncd('NTPMessage={ Leap=3, Version=4, Mode=4, Stratum=0 }')).toEqual({});
  expect(standingByTimesyncd('')).toEqual({});
});

test('a node is told where the time is, for both programs that keep it', () => {
  expect(serviceFiles({ timeServer: parseIpv4('10.78.0.1') })).toEqual([
    { path: 'etc/systemd/timesyncd.conf.d/10-cardless.conf', mode: 0o644, text: '[Time]\nNTP=10.78.0.1\n' },
    { path: 'etc/chrony/sources.d/cardless.sources', mode: 0o644, text: 'server 10.78.0.1 iburst\n' },
  ]);
  expect(serviceFiles({})).toEqual([]);
});
