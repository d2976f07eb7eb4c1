import { type Answer, decode, encode, type Packet } from 'dns-packet';
import { describe, expect, test } from 'vitest';
import { DecodeError } from '#src/domain/errors.ts';
import { datagramBytes, encodeDnsReply } from '#src/protocol/dns/answer.ts';
import { decodeDnsQuery } from '#src/protocol/dns/query.ts';
import { decodeUpstreamReply, encodeUpstreamQuery, relayReply } from '#src/protocol/dns/relayed.ts';
import { Deframer, framed } from '#src/servers/dns/tcp-frames.ts';
import { dnsQuery, upstreamReply } from '../../support/dns.ts';

const opt: Answer = {
  type: 'OPT',
  name: '.',
  udpPayloadSize: 1232,
  extendedRcode: 0,
  ednsVersion: 0,
  flags: 0,
  flag_do: false,
  options: [],
};

describe('questions', () => {
  test('what was asked, with the letters as they came', () => {
    const query = decodeDnsQuery(dnsQuery('ReD5.Example.Org', { type: 'SRV', edns: true }));
    expect(query).toMatchObject({
      id: 4660,
      opcode: 0,
      wantsRecursion: true,
      question: { name: 'red5.example.org', type: 33, class: 1 },
      edns: { version: 0, payloadBytes: 4096, wantsSignatures: false },
    });
    expect(query.question.bytes.toString('latin1')).toContain('ReD5');
    expect(decodeDnsQuery(dnsQuery('.', { type: 'NS' })).question.name).toBe('');
  });
  test.each([
    ['nothing', Buffer.alloc(0)],
    ['half a header', Buffer.alloc(7)],
    ['a response', upstreamReply(dnsQuery('x'), [])],
    [
      'two questions',
      encode({
        type: 'query',
        questions: [
          { name: 'a', type: 'A' },
          { name: 'b', type: 'A' },
        ],
      }),
    ],
    [
      'an answer in a question',
      encode({ type: 'query', questions: [{ name: 'a', type: 'A' }], answers: [{ name: 'a', type: 'A', data: '1.2.3.4' }] }),
    ],
    ['a name that points at itself', Buffer.from('1234010000010000000000 00c00c00010001'.replaceAll(' ', ''), 'hex')],
    ['a label of 70 bytes', Buffer.concat([Buffer.from('123401000001000000000000', 'hex'), Buffer.from([70]), Buffer.alloc(75, 'a')])],
    ['a name of 300 bytes', Buffer.concat([Buffer.from('123401000001000000000000', 'hex'), Buffer.alloc(300, '\x01a'), Buffer.alloc(5)])],
  ])('%s is refused', (_what, bytes) => {
    expect(() => decodeDnsQuery(bytes)).toThrow(DecodeError);
  });
});

describe('answers', () => {
  const many: Answer[] = Array.from({ length: 40 }, () => ({ name: 'x.cluster.internal', type: 'TXT', ttl: 30, data: ['some text'] }));
  const reply = { code: 0, isAuthoritative: true, answers: many as never, authorities: [] } as const;
  test('what no datagram carries is left out, and the client told to ask by TCP', () => {
    const query = decodeDnsQuery(dnsQuery('x.cluster.internal', { type: 'TXT' }));
    expect(datagramBytes(query)).toBe(512);
    const short = decode(encodeDnsReply(query, reply, datagramBytes(query))) as Packet & { flag_tc: boolean };
    expect([short.flag_tc, short.answers?.length, short.questions?.[0]?.name]).toEqual([true, 0, 'x.cluster.internal']);
    const whole = decode(encodeDnsReply(query, reply, 65_535)) as Packet & { flag_tc: boolean };
    expect([whole.flag_tc, whole.answers?.length, whole.id]).toEqual([false, 40, 4660]);
  });
  test('with EDNS as much as fits one frame, and EDNS in the answer only then', () => {
    const query = decodeDnsQuery(dnsQuery('x.cluster.internal', { edns: true }));
    expect(datagramBytes(query)).toBe(1232);
    expect(decode(encodeDnsReply(query, reply, 1232)).additionals).toMatchObject([{ type: 'OPT', udpPayloadSize: 1232 }]);
  });
});

describe('replies from upstream', () => {
  const records: Answer[] = [
    { name: 'WWW.example.org', type: 'CNAME', ttl: 100, data: 'web.example.org' },
    { name: 'web.example.org', type: 'A', ttl: 60, data: '192.0.2.7' },
  ];
  test('are passed on with the id and spelling of the client, and times that have passed', () => {
    const reply = decodeUpstreamReply(upstreamReply(dnsQuery('www.example.org'), records, { additionals: [opt] }));
    expect([reply.ttl, reply.code, reply.isTruncated, reply.ttlOffsets.length]).toEqual([60, 0, false, 2]);
    const query = decodeDnsQuery(dnsQuery('wWw.exAmple.org', { edns: true }));
    const relayed = decode(relayReply(query, reply, 25, 1232));
    expect(relayed).toMatchObject({
      id: 4660,
      flag_ra: true,
      flag_aa: false,
      questions: [{ name: 'wWw.exAmple.org' }],
      answers: [{ ttl: 75 }, { ttl: 35, data: '192.0.2.7' }],
      additionals: [{ type: 'OPT' }],
    });
    expect(decode(relayReply(decodeDnsQuery(dnsQuery('www.example.org')), reply, 99, 512))).toMatchObject({
      answers: [{ ttl: 1 }, { ttl: 0 }],
      additionals: [],
    });
  });
  test('names may point back, and types that nobody here knows stay as they are', () => {
    const header = '123481800001000200000000';
    const question = '0377777707657861 6d706c65036f726700 00010001'.replaceAll(' ', '');
    const unknown = 'c00c fff10001 00000064 0003 abcdef'.replaceAll(' ', '');
    const address = 'c00c 00010001 80000001 0004 c0000201'.replaceAll(' ', '');
    const reply = decodeUpstreamReply(Buffer.from(header + question + unknown + address, 'hex'));
    // RFC 2181 section 8: a time with the highest bit set is none.
    expect(reply.ttl).toBe(0);
    const relayed = relayReply(decodeDnsQuery(dnsQuery('www.example.org')), reply, 10, 512).toString('hex');
    expect(relayed).toContain('c00cfff100010000005a0003abcdef');
  });
  test('what is too long is cut off and marked so', () => {
    const long = Array.from({ length: 60 }, (): Answer => ({ name: 'www.example.org', type: 'A', ttl: 5, data: '192.0.2.1' }));
    const reply = decodeUpstreamReply(upstreamReply(dnsQuery('www.example.org'), long));
    const short = decode(relayReply(decodeDnsQuery(dnsQuery('www.example.org', { edns: true })), reply, 0, 512));
    expect(short).toMatchObject({ flag_tc: true, answers: [], additionals: [{ type: 'OPT' }] });
  });
  test('our own question has EDNS, asks for recursion, and carries what the client wants', () => {
    const { question } = decodeDnsQuery(dnsQuery('x.org'));
    const asked = decode(encodeUpstreamQuery(7, { question: question.bytes, wantsSignatures: true, checkingOff: true }));
    expect(asked).toMatchObject({
      id: 7,
      flag_rd: true,
      flag_cd: true,
      questions: [{ name: 'x.org' }],
      additionals: [{ type: 'OPT', flag_do: true }],
    });
  });
});

test('messages over TCP come in any pieces; one that is announced too long ends the connection', () => {
  const stream = Buffer.concat([framed(Buffer.from('hello')), framed(Buffer.from('')), framed(Buffer.from('world'))]);
  for (const size of [1, 2, 3, 7, 100]) {
    const frames = new Deframer(100);
    const taken: string[] = [];
    for (let at = 0; at < stream.length; at += size) {
      taken.push(...(frames.take(stream.subarray(at, at + size)) ?? []).map(String));
    }
    expect(taken).toEqual(['hello', '', 'world']);
  }
  expect(new Deframer(100).take(Buffer.from([0, 101]))).toBeUndefined();
});
