/** Simulated boards against our own DHCP and TFTP servers, in memory and in virtual time. */
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { readTftpPath } from '#src/policy/tftp-path.ts';
import type { FileAnswer } from '#src/servers/tftp/tftp-server.ts';
import type { SimEvent } from '#src/sim/board.ts';
import { type BoardResult, playBoard } from '#src/sim/boot.ts';
import type { Faults } from '#src/sim/faults.ts';
import { boardIdentities } from '#src/sim/identities.ts';
import { findModel, type Model } from '#src/sim/models.ts';
import { seededRandom } from '#src/sim/random.ts';
import { FakeClock } from './fake-clock.ts';
import { MemoryNetwork } from './memory-network.ts';
import { startDhcp, startTftp } from './servers.ts';
import { simNetwork } from './sim-network.ts';

const config = [
  'arm_64bit=1',
  'kernel=kernel8.img',
  'initramfs initramfs.img followkernel',
  '[pi5]',
  'dtoverlay=only-on-5',
  '[pi3+]',
  'dtoverlay=disable-wifi,x=1',
  '[all]',
  '',
].join('\n');

/** Every file that some Pi needs; lengths with and without a last empty block. */
export const piFiles: Readonly<Record<string, Buffer>> = {
  'bootcode.bin': Buffer.alloc(52_000, 1),
  'start.elf': Buffer.alloc(70_000, 2),
  'fixup.dat': Buffer.alloc(7000, 3),
  'start4.elf': Buffer.alloc(1468 * 40, 8),
  'fixup4.dat': Buffer.alloc(1024 * 5, 9),
  'config.txt': Buffer.from(config),
  'cmdline.txt': Buffer.from('console=ttyS1 cardless.token=x\n'),
  'overlays/disable-wifi.dtbo': Buffer.alloc(100, 5),
  'overlays/only-on-5.dtbo': Buffer.alloc(100, 5),
  'initramfs.img': Buffer.alloc(3001, 6),
  'kernel8.img': Buffer.alloc(90_112, 7),
};
const trees = /^bcm27\d\d[a-z0-9-]*\.dtb$/;

export interface PlayOptions {
  readonly known?: boolean;
  readonly mode?: 'full' | 'proxy';
  readonly faults?: Faults;
  readonly http?: (request: string) => Buffer;
  /** In place of the files above; undefined falls back to them. */
  readonly answer?: (path: string, prefix: string | undefined) => FileAnswer | undefined;
  /** Further things on the network. */
  readonly setUp?: (network: MemoryNetwork) => void;
  readonly withoutServers?: boolean;
}

export interface Played {
  readonly result: BoardResult;
  readonly model: Model;
  readonly events: readonly SimEvent[];
  /** File names as they were asked for. */
  readonly asked: readonly string[];
  readonly seconds: number;
}

export async function play(modelName: string, options: PlayOptions = {}): Promise<Played> {
  const network = new MemoryNetwork(new FakeClock());
  const asked: string[] = [];
  if (options.withoutServers !== true) {
    startDhcp(network, options.mode ?? 'full', options.known ?? true);
    startTftp(network, (filename) => {
      asked.push(filename);
      const name = readTftpPath(filename);
      if (name.kind === 'refused') {
        return name;
      }
      const bytes = piFiles[name.path] ?? (trees.test(name.path) ? Buffer.alloc(1024, 4) : undefined);
      return options.answer?.(name.path, name.serial) ?? (bytes ? { kind: 'found', bytes } : { kind: 'missing', expected: true });
    });
  }
  options.setUp?.(network);
  const model = findModel(modelName);
  const [identity] = boardIdentities({ model, count: 1, seed: 5 });
  if (!identity) {
    throw new Error('no board');
  }
  const events: SimEvent[] = [];
  let outcome: BoardResult | Error | undefined;
  void playBoard(model, {
    ...identity,
    network: simNetwork(network, options),
    random: seededRandom(3),
    keep: true,
    onEvent: (event) => events.push(event),
    signal: new AbortController().signal,
  }).then(
    (result) => {
      outcome = result;
    },
    (error: Error) => {
      outcome = error;
    },
  );
  await network.clock.run(() => outcome !== undefined);
  if (!outcome || outcome instanceof Error) {
    throw outcome ?? new Error('the board did not come to an end');
  }
  return { result: outcome, model, events, asked, seconds: network.clock.now() / 1000 };
}

/** The home router: gives an address and knows nothing of booting. Built by hand, so that our codec is not its judge. */
export function addRouter(network: MemoryNetwork): void {
  const router = parseIpv4('10.77.0.254');
  const endpoint = network.open(router, 67, (data) => {
    const reply = Buffer.alloc(300);
    data.copy(reply, 0, 0, 44);
    reply[0] = 2;
    reply.set([10, 77, 0, 20], 16);
    const type = data[242] === 3 ? 5 : 2;
    reply.set([0x63, 0x82, 0x53, 0x63, 53, 1, type, 54, 4, 10, 77, 0, 254, 1, 4, 255, 255, 255, 0, 255], 236);
    endpoint.send(reply, { address: parseIpv4('255.255.255.255'), port: 68 });
  });
}
