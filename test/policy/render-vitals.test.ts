import { expect, test } from 'vitest';
import { SettingsDocument, settingsOf } from '#src/config/fleet-document.ts';
import { inheritSettings } from '#src/domain/inherit-settings.ts';
import { compareContent, contentOf } from '#src/policy/node-content.ts';
import { vitalsFiles } from '#src/policy/render-vitals.ts';
import { testNode } from '../support/nodes.ts';

const partsOf = (vitalsSeconds?: number) => {
  const node = testNode('red5', { own: vitalsSeconds === undefined ? {} : { vitalsSeconds } });
  return contentOf(node, 'image', vitalsFiles(node), () => undefined);
};

test('every five seconds, unless something else is said; what is narrower wins, and 0 is something', () => {
  const seconds = (...layers: number[]) => inheritSettings(layers.map((vitalsSeconds) => ({ vitalsSeconds }))).vitalsSeconds;
  expect(vitalsFiles(testNode('red5'))).toEqual([
    { path: 'etc/cardless/vitals.conf', mode: 0o644, text: "VITALS_SECONDS='5'\n", live: true },
  ]);
  expect([seconds(), seconds(30), seconds(30, 0), seconds(0, 30)]).toEqual([undefined, 30, 0, 30]);
});

test('a plan sees a change, and says that it reaches nodes that run', () => {
  const before = Object.fromEntries(partsOf().map(({ what, value }) => [what, value]));
  expect(compareContent(before, partsOf(5))).toEqual([]);
  expect(compareContent(before, partsOf(0))).toEqual([{ what: '/etc/cardless/vitals.conf', change: 'changed', live: true }]);
});

test.each([[-1], [3601], [1.5], ['5']])('%s is no such setting', (vitalsSeconds) => {
  expect(SettingsDocument.safeParse({ vitalsSeconds }).success).toBe(false);
  expect(settingsOf(SettingsDocument.parse({ vitalsSeconds: 60 }))).toEqual({ vitalsSeconds: 60 });
});
