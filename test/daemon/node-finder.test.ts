import { mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { NodeFinder } from '#src/daemon/node-finder.ts';
import { parseMac } from '#src/domain/mac.ts';
import { type Node, parseNodeName } from '#src/domain/node.ts';
import { parseSerial } from '#src/domain/serial.ts';
import { openDatabase } from '#src/store/database.ts';
import { LeaseStore } from '#src/store/leases.ts';
import { NodeStore } from '#src/store/nodes.ts';
import { FakeClock } from '../support/fake-clock.ts';
import { nodeRecord } from '../support/nodes.ts';

const red5Mac = parseMac('b827eb6c4c16');
const stranger = parseMac('525400666666');

function start(): { nodes: NodeStore; finder: NodeFinder; node: (name: string) => Node } {
  const database = openDatabase(join(mkdtempSync(join(tmpdir(), 'cardless-')), 'state.db'));
  const nodes = new NodeStore(database);
  nodes.add([
    nodeRecord('red5', { serial: parseSerial('b66c4c16'), macs: [red5Mac] }),
    nodeRecord('red6', { serial: parseSerial('b66c4c17') }),
  ]);
  const leases = new LeaseStore(database);
  const finder = new NodeFinder({
    nodes,
    leases,
    neighbours: () => Promise.resolve(new Map()),
    isLeased: () => true,
    clock: new FakeClock(),
  });
  return { nodes, finder, node: (name) => nodes.require(parseNodeName(name)) };
}

describe('which node is it', () => {
  test('a known serial brings its MAC along', () => {
    const { finder, node } = start();
    expect(finder.find({ class: 'pi3-bootcode', mac: stranger, serial: parseSerial('b66c4c17') })?.name).toBe('red6');
    expect(node('red6').macs).toEqual([stranger]);
  });
  test('a serial with ever new MACs is soon nobody', () => {
    const { finder, node } = start();
    const serial = parseSerial('b66c4c17');
    const found = Array.from({ length: 20 }, (_, index) =>
      finder.find({ class: 'pi4-eeprom', mac: parseMac(`5254000000${index + 10}`), serial }),
    );
    expect(found.filter((entry) => entry !== undefined)).toHaveLength(8);
    expect(node('red6').macs).toHaveLength(8);
    expect(finder.find({ class: 'pi4-eeprom', mac: parseMac('525400000010'), serial })?.name).toBe('red6');
  });
  test('the ROM of a 3B, which tells no serial, by the end of its MAC', () => {
    const { finder } = start();
    expect(finder.find({ class: 'pi3-rom', mac: parseMac('b827eb6c4c17') })?.name).toBe('red6');
    expect(finder.find({ class: 'pi3-rom', mac: parseMac('b827eb000001') })).toBeUndefined();
    expect(finder.find({ class: 'lease', mac: parseMac('b827eb6c4c17') })?.name).toBe('red6');
  });
  test('a node whose MAC nobody knows may be whoever comes first', () => {
    const { finder, node } = start();
    expect(finder.mayBe(node('red6'), stranger, true)).toBe(true);
    expect(node('red6').macs).toEqual([stranger]);
    expect(finder.mayBe(node('red6'), parseMac('525400777777'), true)).toBe(false);
  });
  test('but not another node, which would lose its own name', () => {
    const { finder, node } = start();
    expect(finder.mayBe(node('red6'), red5Mac, true)).toBe(false);
    expect(node('red5').macs).toEqual([red5Mac]);
  });
});
