import { describe, expect, test } from 'vitest';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { noFaults } from '#src/sim/faults.ts';
import { models } from '#src/sim/models.ts';
import { capture } from '../support/captures.ts';
import { serverAddress } from '../support/servers.ts';
import { addRouter, piFiles, play } from '../support/sim-boards.ts';

const piNames = models.filter((model) => model.firmware === 'pi3' || model.firmware === 'eeprom').map((model) => model.name);
const eepromNames = models.filter((model) => model.firmware === 'eeprom').map((model) => model.name);

describe.each(piNames)('%s', (name) => {
  test('boots from our server without a word of complaint', async () => {
    const { result } = await play(name);
    expect(result).toMatchObject({ booted: true, violations: [], restarts: 0 });
    expect(result.boot?.files?.kernel.equals(piFiles['kernel8.img'] ?? Buffer.alloc(0))).toBe(true);
  });
  test.each([1, 2, 3])('gets the right bytes through loss, duplicates and reordering, seed %i', async (seed) => {
    const faults = { ...noFaults, loss: 0.01, dup: 0.01, reorder: 0.01, latencyMs: 2, seed };
    const { result } = await play(name, { faults });
    expect(result.violations).toEqual([]);
    // A lost request of bootcode.bin is a file that is not there: such a board may fail, but never with wrong bytes.
    const kernel = result.boot?.files?.kernel;
    expect(kernel === undefined || kernel.equals(piFiles['kernel8.img'] ?? Buffer.alloc(0))).toBe(true);
    if (eepromNames.includes(name)) {
      expect(result.booted).toBe(true);
    }
  });
  test('the same seed gives the same run', async () => {
    const faults = { ...noFaults, loss: 0.02, dup: 0.02, reorder: 0.02, latencyMs: 1, seed: 9 };
    const [first, second] = [await play(name, { faults }), await play(name, { faults })];
    expect(second.asked).toEqual(first.asked);
    expect(second.seconds).toBe(first.seconds);
  });
});

describe.each(eepromNames)('%s beside a router', (name) => {
  test('has its address from the router and its files from us', async () => {
    const { result } = await play(name, { mode: 'proxy', setUp: addRouter });
    expect(result).toMatchObject({ booted: true, violations: [], boot: { address: parseIpv4('10.77.0.20'), server: serverAddress } });
  });
});

describe('a Raspberry Pi 4', () => {
  test('asks in the order of the captures', async () => {
    const { asked, result } = await play('pi4');
    expect(asked.slice(0, 8).map((file) => file.replace(`${result.serial}/`, ''))).toEqual([
      'start4.elf',
      'config.txt',
      'pieeprom.sig',
      'recover4.elf',
      'recovery.elf',
      'start4.elf',
      'fixup4.dat',
      'recovery.elf',
    ]);
  });
  test('has the DISCOVER of the capture, but for who it is', async () => {
    const seen: Buffer[] = [];
    await play('pi4', {
      withoutServers: true,
      setUp: (network) => void network.open(serverAddress, 67, (data) => seen.push(Buffer.from(data))),
    });
    const [first] = seen;
    const golden = capture('pi4-eeprom-discover');
    expect(first?.length).toBe(golden.length);
    const anonymous = (packet: Buffer): string => {
      const copy = Buffer.from(packet);
      copy.fill(0, 4, 8);
      copy.fill(0, 28, 34);
      const guid = copy.indexOf(Buffer.from([97, 17, 0]));
      copy.fill(0, guid + 7, guid + 19);
      return copy.toString('hex');
    };
    expect(anonymous(first ?? Buffer.alloc(0))).toBe(anonymous(golden));
  });
  test('starts over when a file takes longer than TFTP_FILE_TIMEOUT, and says so', async () => {
    let isSlow = true;
    const { result } = await play('pi4', {
      answer: (path) => {
        if (path === 'fixup4.dat' && isSlow) {
          isSlow = false;
          return { kind: 'refused', reason: 'for once' };
        }
        return undefined;
      },
    });
    expect(result).toMatchObject({ booted: true, restarts: 1 });
  });
  test('falls back to the root when its directory has no start4.elf', async () => {
    const { result, asked } = await play('pi4', {
      answer: (_path, prefix) => (prefix === undefined ? undefined : { kind: 'missing', expected: false }),
    });
    expect(result.booted).toBe(true);
    expect(asked.slice(0, 3)).toEqual([`${result.serial}/start4.elf`, `${result.serial}/start.elf`, 'config.txt']);
  });
});

describe('a Raspberry Pi 5', () => {
  test('asks for no start*.elf, and for some names with two slashes', async () => {
    const { asked, result } = await play('pi5');
    expect(asked.some((file) => /start|fixup/.test(file))).toBe(false);
    expect(asked).toContain(`${result.serial}//config.txt`);
    expect(asked).toContain(`${result.serial}//overlays/only-on-5.dtbo`);
    expect(asked).toContain(`${result.serial}/kernel8.img`);
  });
});
