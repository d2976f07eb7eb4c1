/**
 * A Raspberry Pi 3B+ from power-on to the kernel's first instruction: mask ROM, bootcode.bin and start.elf, each with
 * the requests that the real one sends (captures of raspberrypi/firmware#1041 and #1605, PexMor/raspi-netboot).
 */
import type { Clock } from '../domain/clock.ts';
import { UserError } from '../domain/errors.ts';
import { anyAddress, type Ipv4, limitedBroadcast, parseIpv4 } from '../domain/ipv4.ts';
import type { Mac } from '../domain/mac.ts';
import type { Serial } from '../domain/serial.ts';
import { type BootConfig, readConfigTxt } from './config-txt.ts';
import { type Fetched, fetchFile, type SimNetwork } from './tftp-client.ts';
import { type Offer, piDiscover, piXid, readOffer } from './wire.ts';

const discoverEveryMs = 5000;
const romAttempts = 5;
const bootcodeAttempts = 12;
const menuText = 'Raspberry Pi Boot';
const deviceTree = 'bcm2710-rpi-3-b-plus.dtb';

export interface Pi3Options {
  readonly mac: Mac;
  readonly serial: Serial;
  readonly network: SimNetwork & { setAddress(address: Ipv4, mask: Ipv4): Promise<void> };
  readonly onEvent: (event: SimEvent) => void;
  readonly signal: AbortSignal;
}

export type SimEvent =
  | { readonly kind: 'discover'; readonly stage: 'rom' | 'bootcode'; readonly attempt: number }
  | { readonly kind: 'offer'; readonly stage: 'rom' | 'bootcode'; readonly address: Ipv4; readonly server: Ipv4 }
  | {
      readonly kind: 'file';
      readonly name: string;
      readonly result: 'found' | 'probed' | 'missing';
      readonly bytes: number;
      readonly ms: number;
    };

/** Everything that start.elf hands to the kernel, byte for byte as it came. */
export interface PiBoot {
  readonly address: Ipv4;
  readonly server: Ipv4;
  readonly kernel: Buffer;
  readonly deviceTree: Buffer;
  readonly overlays: ReadonlyMap<string, Buffer>;
  readonly initramfs: Buffer;
  /** cmdline.txt, then what the firmware adds. */
  readonly commandLine: string;
  /** What real firmware would have choked on; empty is good. */
  readonly complaints: readonly string[];
}

/** @throws UserError unavailable when no server answers, failed when a file that it needs is missing */
export async function bootPi3(options: Pi3Options): Promise<PiBoot> {
  const board = new Pi3(options);
  return await board.boot();
}

class Pi3 {
  readonly #options: Pi3Options;
  readonly #clock: Clock;
  readonly #complaints: string[] = [];
  readonly #configReads: Buffer[] = [];
  #port = 49_152;
  #address: Ipv4 = anyAddress;
  #server: Ipv4 = anyAddress;
  #prefix = '';

  constructor(options: Pi3Options) {
    this.#options = options;
    this.#clock = options.network.clock;
  }

  async boot(): Promise<PiBoot> {
    await this.#rom();
    await this.#bootcode();
    return await this.#startElf();
  }

  // ---- mask ROM: no TFTP options, no prefix ----

  async #rom(): Promise<void> {
    await this.#dhcp('rom', romAttempts);
    await this.#need('bootcode.bin', []);
    await this.#fetch('bootsig.bin', [], false);
  }

  // ---- bootcode.bin: a DHCP exchange of its own, then tsize and the serial's directory ----

  async #bootcode(): Promise<void> {
    await this.#dhcp('bootcode', bootcodeAttempts);
    const directory = `${this.#options.serial}/`;
    const probe = await this.#fetch(`${directory}start.elf`, tsize, true);
    this.#prefix = probe.kind === 'missing' ? '' : directory;
    await this.#get('start.elf', true);
    await this.#get('autoboot.txt');
    await this.#readConfig();
    await this.#get('recovery.elf');
    await this.#needPrefixed('start.elf');
    await this.#needPrefixed('fixup.dat');
  }

  // ---- start.elf ----

  async #startElf(): Promise<PiBoot> {
    await this.#get('recovery.elf');
    await this.#readConfigTwice();
    await this.#get('dt-blob.bin');
    await this.#get('recovery.elf');
    const config = await this.#readConfigTwice();
    await this.#get('bootcfg.txt');
    const tree = await this.#twice(config.deviceTree ?? deviceTree);
    await this.#twice('overlays/overlay_map.dtb');
    await this.#readConfigTwice();
    const overlays = await this.#overlays(config);
    const commandLine = await this.#twice(config.cmdline);
    const initramfs = await this.#initramfs(config);
    await this.#get('recovery8.img');
    await this.#get(config.kernel, true);
    await this.#get('armstub8.bin');
    const kernel = await this.#twice(config.kernel);
    this.#checkConfigReads();
    return {
      address: this.#address,
      server: this.#server,
      kernel: required(kernel, config.kernel),
      deviceTree: required(tree, deviceTree),
      overlays,
      initramfs,
      commandLine: `${this.#firmwareArguments()} ${required(commandLine, config.cmdline).toString('latin1').trim()}`,
      complaints: this.#complaints,
    };
  }

  async #overlays(config: BootConfig): Promise<Map<string, Buffer>> {
    const overlays = new Map<string, Buffer>();
    for (const name of config.overlays) {
      const bytes = await this.#twice(`overlays/${name}.dtbo`);
      if (bytes) {
        overlays.set(name, bytes);
      }
    }
    return overlays;
  }

  async #initramfs(config: BootConfig): Promise<Buffer> {
    const parts: Buffer[] = [];
    for (const name of config.initramfs) {
      parts.push(required(await this.#twice(name), name));
    }
    return Buffer.concat(parts);
  }

  /** The firmware tells the kernel's network driver its MAC. */
  #firmwareArguments(): string {
    return `smsc95xx.macaddr=${this.#options.mac.toUpperCase()} vc_mem.mem_base=0x3ec00000 vc_mem.mem_size=0x40000000`;
  }

  async #readConfig(): Promise<BootConfig> {
    const bytes = await this.#get('config.txt');
    if (bytes.kind === 'found') {
      this.#configReads.push(bytes.bytes);
    }
    const board = { models: ['pi3', 'pi3+'], serial: this.#options.serial };
    return readConfigTxt(bytes.kind === 'found' ? bytes.bytes : Buffer.alloc(0), board);
  }

  async #readConfigTwice(): Promise<BootConfig> {
    await this.#get('config.txt', true);
    return await this.#readConfig();
  }

  #checkConfigReads(): void {
    const [first] = this.#configReads;
    if (first && this.#configReads.some((bytes) => !bytes.equals(first))) {
      this.#complaints.push('config.txt differed between two reads of one boot');
    }
  }

  // ---- DHCP: the first usable OFFER is enough, no REQUEST is ever sent ----

  async #dhcp(stage: 'rom' | 'bootcode', attempts: number): Promise<void> {
    const { network, mac, serial, signal, onEvent } = this.#options;
    const usable = Promise.withResolvers<{ yiaddr: Ipv4; mask: Ipv4; server: Ipv4 }>();
    let lease: { yiaddr: Ipv4; mask: Ipv4 } | undefined;
    let server: Ipv4 | undefined;
    const endpoint = network.openUdp(anyAddress, 68, (data, peer) => {
      const offer = readOffer(data, mac, piXid);
      if (!offer) {
        return;
      }
      // As a proxy answers beside the router, address and server may come in two offers.
      if (offer.yiaddr !== anyAddress) {
        lease = { yiaddr: offer.yiaddr, mask: offer.subnetMask ?? parseIpv4('255.255.255.0') };
      }
      server = tftpServerOf(offer, peer.address) ?? server;
      if (tftpServerOf(offer, peer.address)) {
        this.#checkOffer(offer, peer.address);
      }
      if (lease && server) {
        usable.resolve({ ...lease, server });
      }
    });
    try {
      for (let attempt = 1; attempt <= attempts && !signal.aborted; attempt += 1) {
        onEvent({ kind: 'discover', stage, attempt });
        endpoint.send(piDiscover(mac, serial), { address: limitedBroadcast, port: 67 });
        const got = await Promise.race([usable.promise, wait(this.#clock, discoverEveryMs)]);
        if (got) {
          await network.setAddress(got.yiaddr, got.mask);
          this.#address = got.yiaddr;
          this.#server = got.server;
          onEvent({ kind: 'offer', stage, address: got.yiaddr, server: got.server });
          return;
        }
      }
    } finally {
      await endpoint.close();
    }
    throw new UserError('unavailable', `${stage}: no DHCP server made a usable offer in ${attempts} attempts`, {
      hint: 'The board is not registered, or its offer lacks option 43 or 66: cardless node list --unclaimed',
    });
  }

  #checkOffer(offer: Offer, source: Ipv4): void {
    if (offer.serverIdentifier !== source) {
      this.#complaints.push(`option 54 is ${offer.serverIdentifier ?? 'absent'}, the offer came from ${source}`);
    }
    if (offer.tftpServerName !== undefined && !/^\d+\.\d+\.\d+\.\d+$/.test(offer.tftpServerName)) {
      this.#complaints.push(`option 66 is not a plain dotted address: ${JSON.stringify(offer.tftpServerName)}`);
    }
  }

  // ---- files ----

  async #get(name: string, probe = false): Promise<Fetched> {
    return await this.#fetch(`${this.#prefix}${name}`, tsize, probe);
  }

  async #twice(name: string): Promise<Buffer | undefined> {
    await this.#get(name, true);
    const read = await this.#get(name);
    return read.kind === 'found' ? read.bytes : undefined;
  }

  async #needPrefixed(name: string): Promise<Buffer> {
    return await this.#need(`${this.#prefix}${name}`, tsize);
  }

  async #need(name: string, tftpOptions: readonly string[]): Promise<Buffer> {
    const read = await this.#fetch(name, tftpOptions, false);
    return required(read.kind === 'found' ? read.bytes : undefined, name, read.kind === 'missing' ? read.why : undefined);
  }

  async #fetch(filename: string, tftpOptions: readonly string[], probe: boolean): Promise<Fetched> {
    if (this.#options.signal.aborted) {
      throw new UserError('cancelled', 'The simulated board was switched off');
    }
    const startedAt = this.#clock.now();
    const result = await fetchFile(this.#options.network, {
      server: this.#server,
      address: this.#address,
      port: this.#port,
      filename,
      tftpOptions,
      probe,
      complain: (text) => this.#complaints.push(text),
    });
    this.#port += 1;
    const bytes = result.kind === 'found' ? result.bytes.length : 0;
    this.#options.onEvent({ kind: 'file', name: filename, result: result.kind, bytes, ms: this.#clock.now() - startedAt });
    return result;
  }
}

const tsize = ['tsize', '0'];

/** Options are read in order, and a later one replaces what an earlier one said (openSUSE/netboot-rpi3b). */
function tftpServerOf(offer: Offer, source: Ipv4): Ipv4 | undefined {
  let server: Ipv4 | undefined;
  for (const code of offer.order) {
    if (code === 43 && offer.vendorSpecific?.includes(menuText)) {
      server = source;
    } else if (code === 66 && /^\d+\.\d+\.\d+\.\d+$/.test(offer.tftpServerName ?? '')) {
      server = parseIpv4(offer.tftpServerName ?? '');
    }
  }
  return server;
}

function required(bytes: Buffer | undefined, name: string, why?: string): Buffer {
  if (!bytes) {
    throw new UserError('failed', `The board needs ${name} and did not get it${why === undefined ? '' : ` (${why})`}`);
  }
  return bytes;
}

function wait(clock: Clock, ms: number): Promise<undefined> {
  return new Promise((resolve) => clock.after(ms, () => resolve(undefined)));
}
