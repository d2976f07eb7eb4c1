import { expect, test } from 'vitest';
import { parseMac } from '#src/domain/mac.ts';
import { noRouterAdvertisement } from '#src/protocol/ndp/router-advertisement.ts';

test('tcpdump reads these bytes as a Router Advertisement without a router, with a good checksum', () => {
  const header = '6000000000103aff' + 'fe80000000000000505400fffe123456' + 'fe80000000000000505400fffe000661';
  const packet = noRouterAdvertisement(parseMac('52:54:00:12:34:56'), parseMac('52:54:00:00:06:61'));
  expect(packet.toString('hex')).toBe(`${header}8600a341000000000000000000000000`);
});
