import { decode } from 'dns-packet';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { type Ipv4, parseIpv4 } from '#src/domain/ipv4.ts';
import { decodeUpstreamReply, type UpstreamReply } from '#src/protocol/dns/relayed.ts';
import { DnsServer } from '#src/servers/dns/dns-server.ts';
import { Forwarder, type ForwarderOptions } from '#src/servers/dns/forwarder.ts';
import { client, dnsQuery, testZone, upstreamReply } from '../../support/dns.ts';
import { FakeClock } from '../../support/fake-clock.ts';

const good = parseIpv4('192.0.2.53');
const silent = parseIpv4('192.0.2.54');
const limits = { entries: 100, bytes: 100_000, pending: 4 };

function replyTo(question: Buffer, address = '192.0.2.7', flags = 0x8180): UpstreamReply {
  const query = Buffer.concat([Buffer.from('000001000001000000000000', 'hex'), question]);
  const { questions } = decode(query);
  return decodeUpstreamReply(upstreamReply(query, [{ name: questions?.[0]?.name ?? '', type: 'A', ttl: 60, data: address }], { flags }));
}

function start(ask: ForwarderOptions['ask'], upstreams: readonly Ipv4[] = [good]) {
  const clock = new FakeClock();
  const forwarder = new Forwarder({ clock, upstreams: () => Promise.resolve(upstreams), ask, limits });
  const bad: string[] = [];
  const server = new DnsServer({
    clock,
    forwarder,
    facts: () => ({ served: testZone.subnets, zone: testZone }),
    onBadPacket: (reason) => bad.push(reason),
    onFailure: (error) => {
      throw error;
    },
  });
  const sent: Buffer[] = [];
  const say = async (bytes: Buffer, address: Ipv4 = client): Promise<void> => {
    server.receive(bytes, { address, port: 4000 }, (data) => sent.push(data));
    await clock.run(() => false, 0);
  };
  return { clock, server, forwarder, bad, sent, say };
}

test('what was asked once is answered from the cache, until its time is over', async () => {
  let asked = 0;
  const { clock, say, sent } = start((_attempt, { question }) => {
    asked += 1;
    return Promise.resolve(replyTo(question));
  });
  await say(dnsQuery('www.example.org'));
  clock.after(40_000, () => {});
  await clock.run(() => false);
  await say(dnsQuery('WWW.example.org'));
  expect(asked).toBe(1);
  expect(sent.map((bytes) => decode(bytes).answers)).toMatchObject([[{ ttl: 60 }], [{ ttl: 20 }]]);
  expect(decode(sent[1] ?? Buffer.alloc(0)).questions?.[0]?.name).toBe('WWW.example.org');
  clock.after(30_000, () => {});
  await clock.run(() => false);
  await say(dnsQuery('www.example.org'));
  expect(asked).toBe(2);
});

test('the next server is asked when one is silent or fails, and the one that answered is asked first then', async () => {
  const asked: Ipv4[] = [];
  const { say, sent } = start(
    ({ upstream }, { question }) => {
      asked.push(upstream);
      return Promise.resolve(upstream === good ? replyTo(question) : undefined);
    },
    [silent, good],
  );
  await say(dnsQuery('a.example.org'));
  await say(dnsQuery('b.example.org'));
  expect(asked).toEqual([silent, good, good]);
  expect(sent).toHaveLength(2);
  const failing = start(
    ({ upstream }, { question }) => Promise.resolve(replyTo(question, '192.0.2.7', upstream === good ? 0x8180 : 0x8182)),
    [silent, good],
  );
  await failing.say(dnsQuery('a.example.org'));
  expect(decode(failing.sent[0] ?? Buffer.alloc(0))).toMatchObject({ rcode: 'NOERROR', answers: [{ data: '192.0.2.7' }] });
});

test('when nobody answers, or there is nobody to ask, the client is told so and nothing is kept', async () => {
  for (const upstreams of [[silent], []]) {
    const { say, sent, forwarder } = start(() => Promise.resolve(undefined), upstreams);
    await say(dnsQuery('a.example.org'));
    expect(decode(sent[0] ?? Buffer.alloc(0))).toMatchObject({ rcode: 'SERVFAIL', questions: [{ name: 'a.example.org' }] });
    expect(forwarder.status).toEqual({ cached: 0, pending: 0 });
  }
});

test('the same question of many is asked once, and others beyond the limit are refused at once', async () => {
  let asked = 0;
  const { promise, resolve } = Promise.withResolvers<void>();
  const { say, sent, forwarder } = start(async (_attempt, { question }) => {
    asked += 1;
    await promise;
    return replyTo(question);
  });
  for (let index = 0; index < 5; index += 1) {
    await say(dnsQuery('same.example.org'), parseIpv4(`10.78.0.${30 + index}`));
  }
  expect([asked, forwarder.status.pending]).toEqual([1, 1]);
  for (let index = 0; index < 10; index += 1) {
    await say(dnsQuery(`other${index}.example.org`));
  }
  expect([asked, forwarder.status.pending, sent.length]).toEqual([4, 4, 7]);
  resolve();
  await say(dnsQuery('red5'));
  expect([sent.length, forwarder.status.pending]).toEqual([16, 0]);
});

test('an alias of ours to a name elsewhere is answered with all that a client needs', async () => {
  const { say, sent } = start((_attempt, { question }) => Promise.resolve(replyTo(question)));
  await say(dnsQuery('mirror.cluster.internal'));
  expect(decode(sent[0] ?? Buffer.alloc(0)).answers).toMatchObject([
    { name: 'mirror.cluster.internal', type: 'CNAME', data: 'deb.example.org' },
    { name: 'deb.example.org', type: 'A', data: '192.0.2.7' },
  ]);
});

test('a client that asks without end is not answered without end, and others are', async () => {
  const { say, sent, server } = start(() => Promise.resolve(undefined));
  for (let index = 0; index < 2000; index += 1) {
    server.receive(dnsQuery('red5'), { address: client, port: 4000 }, (data) => sent.push(data));
  }
  expect(sent).toHaveLength(500);
  await say(dnsQuery('red5'), parseIpv4('10.78.0.99'));
  expect(sent).toHaveLength(501);
});

test('one client cannot hold all that waits for upstream', () => {
  const { server } = start(() => new Promise(() => {}));
  for (let index = 0; index < 100; index += 1) {
    server.receive(dnsQuery('slow.example.org'), { address: client, port: 4000 }, () => {});
  }
  expect(server.status).toEqual({ answered: 100, refused: 36 });
});

test('mutated packets never bring the server down, and no answer is longer than the client can take', async () => {
  const { server, bad, say, sent } = start((_attempt, { question }) => Promise.resolve(replyTo(question)));
  const corpus = [
    dnsQuery('red5'),
    dnsQuery('red5.cluster.internal', { edns: true }),
    dnsQuery('_http._tcp.cluster.internal', { type: 'SRV' }),
    dnsQuery('20.0.78.10.in-addr.arpa', { type: 'PTR' }),
    upstreamReply(dnsQuery('x.example.org'), [{ name: 'x.example.org', type: 'A', ttl: 1, data: '192.0.2.1' }]),
  ];
  let host = 0;
  fc.assert(
    fc.property(
      fc.constantFrom(...corpus),
      fc.array(fc.tuple(fc.nat(120), fc.nat(255)), { maxLength: 8 }),
      fc.nat(200),
      (packet, edits, length) => {
        const bytes = Buffer.from(packet.subarray(0, length < 150 ? packet.length : length));
        for (const [at, value] of edits) {
          if (at < bytes.length) {
            bytes[at] = value;
          }
        }
        host = (host + 1) % 4000;
        const address = parseIpv4(`10.80.${host >> 8}.${host & 255}`);
        server.receive(bytes, { address, port: 4000 }, (data) => {
          expect(data.length).toBeLessThanOrEqual(1232);
          // A reply must never set another one off.
          expect(data.readUInt8(2) & 0x80).toBe(0x80);
        });
      },
    ),
    { numRuns: 20_000 },
  );
  expect(bad.length).toBeGreaterThan(1000);
  await say(dnsQuery('red5'));
  expect(decode(sent[0] ?? Buffer.alloc(0)).answers).toMatchObject([{ data: '10.78.0.20' }]);
});
