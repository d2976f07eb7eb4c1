/** The settings file, and the flags of `cardless up`, which are the same keys. */
import { z } from 'zod';
import { parseExportFormat } from '../domain/export-format.ts';
import { parseImageRef } from '../domain/image-ref.ts';
import { parseAddressRange, parseIpv4, parseSubnet } from '../domain/ipv4.ts';
import { parseMulticastGroup } from '../domain/multicast-group.ts';
import { parsePublicKey } from '../domain/public-key.ts';
import { parsed } from './parsed.ts';
import { AbsolutePath, DomainName } from './system-values.ts';

/** A subnet behind a relay, known by the relay's address (giaddr). */
const RelayedSettings = z.strictObject({
  subnet: parsed(parseSubnet),
  pool: parsed(parseAddressRange).optional(),
  router: parsed(parseIpv4).optional(),
  dns: z.array(parsed(parseIpv4)).default([]),
});
export type RelayedSettings = z.infer<typeof RelayedSettings>;

const delays = z.array(z.int().min(0).max(5000)).max(8);

const switches = ['nameServer', 'gateway', 'timeServer', 'sharedDirectory'] as const;

/** As far as anybody uses it; it becomes part of rules and paths. */
const InterfaceName = z.string().regex(/^[A-Za-z0-9][A-Za-z0-9._@-]{0,14}$/, 'is not the name of an interface');

export const InterfaceSettings = z
  .strictObject({
    name: z.string().min(1),
    mode: z.enum(['proxy', 'full', 'off']).default('proxy'),
    /** What UEFI gets first. Firmware with Secure Boot on takes grub only, and does not say in DHCP that it is on. */
    uefiLoader: z.enum(['ipxe', 'grub']).default('ipxe'),
    subnet: parsed(parseSubnet).optional(),
    pool: parsed(parseAddressRange).optional(),
    router: parsed(parseIpv4).optional(),
    dns: z.array(parsed(parseIpv4)).default([]),
    /** We answer for the names of nodes, and ask upstream for all others. */
    nameServer: z.boolean().default(false),
    /** Nodes reach the world through this machine. */
    gateway: z.boolean().default(false),
    /** We tell the time; `local`: also while nobody has told us, for a network without any other clock. */
    timeServer: z.union([z.boolean(), z.literal('local')]).default(false),
    /** Nodes mount directories of this machine. */
    sharedDirectory: z.boolean().default(false),
    relayed: z.array(RelayedSettings).default([]),
  })
  .superRefine((wanted, context) => {
    for (const name of switches.filter((key) => wanted[key] !== false && wanted.mode !== 'full')) {
      const message = `is for mode full, where the subnet is ours; ${wanted.name} is in mode ${wanted.mode}`;
      context.addIssue({ code: 'custom', path: [name], message });
    }
  });
export type InterfaceSettings = z.infer<typeof InterfaceSettings>;

/** The fleet in the format of another program, kept as it is now. */
const ExportSettings = z
  .strictObject({
    format: parsed(parseExportFormat),
    /** Written at every change. */
    file: AbsolutePath.optional(),
    /** Anybody in the subnets that we serve gets it: http://SERVER:8067/v1/export/FORMAT. */
    http: z.boolean().default(false),
    /** A set of nodes; all when absent. */
    nodes: z.string().optional(),
    jump: z.string().optional(),
    user: z.string().optional(),
    port: z.int().min(1).max(65_535).optional(),
  })
  .refine(({ file, http }) => file !== undefined || http, 'needs a file, or http: true');
export type ExportSettings = z.infer<typeof ExportSettings>;

export const Settings = z.strictObject({
  interfaces: z.array(InterfaceSettings).default([]),
  /** Name servers that the name server asks; by default those of this machine. */
  upstreamDns: z.array(parsed(parseIpv4)).default([]),
  /** The interface by which the gateway reaches the world; by default that of the default route. */
  uplink: InterfaceName.optional(),
  httpPort: z.int().min(1).max(65_535).default(8067),
  nbdPort: z.int().min(1).max(65_535).default(10_809),
  /** What boards with TFTP_PREFIX=1 have as TFTP_PREFIX_STR. */
  tftpPrefixes: z.array(z.string().min(1).max(32)).default([]),
  /** Boards with CLIENT_IP in their EEPROM, which never ask by DHCP, open their boots by asking for a file. */
  fixedAddresses: z.boolean().default(true),
  /** Threads that move blocks; by default one for each core but one, at most 4. 0 leaves it to Node's own sockets. */
  tftpThreads: z.int().min(0).max(64).optional(),
  /** All transfers on port 69, for firewalls and containers that pass one port only. */
  tftpSinglePort: z.boolean().default(false),
  /** A day; our nodes keep their addresses anyway. */
  leaseSeconds: z.int().min(120).max(31_536_000).default(86_400),
  /** When the mask ROM of a 3B is answered, in milliseconds after its DISCOVER. */
  romSchedule: z
    .strictObject({ full: delays.min(1), proxy: delays.min(1), proxyNudges: delays })
    .default({ full: [0, 600, 1200], proxy: [1200, 2200], proxyNudges: [600] }),
  defaultImage: parsed(parseImageRef).default(parseImageRef('debian-13')),
  /** Virtual size; what is not written takes no space. */
  overlayBytes: z
    .int()
    .min(64 * 2 ** 20)
    .default(8 * 2 ** 30),
  /** What all overlays and snapshots of a node may take in blocks; by default four times the size that the node sees. */
  overlayQuotaBytes: z
    .int()
    .min(64 * 2 ** 20)
    .optional(),
  /** Of a data volume that an image wants and whose size nobody said. */
  dataBytes: z
    .int()
    .min(64 * 2 ** 20)
    .default(16 * 2 ** 30),
  /** Of a node's memory, for what it writes with an ephemeral overlay. */
  ephemeralPercent: z.int().min(5).max(90).default(50),
  /** Below this free space nothing new is made; below half of it nodes wait with their writes. */
  storeReserveBytes: z
    .int()
    .min(0)
    .default(512 * 2 ** 20),
  /** Raspberry Pis fetch one boot.img by TFTP in place of some thirty files. */
  bootRamdisk: z.boolean().default(false),
  /** RSA 2048, PEM: signs boot.img for Pis that boot by HTTP. */
  bootKey: z.string().min(1).optional(),
  /** Where Pi bootloaders send their log (NETCONSOLE); 0 hears none, and keeps interfaces out of promiscuous mode. */
  netconsolePort: z.int().min(0).max(65_535).default(6666),
  /** A group and port that the vitals of nodes are sent on to, in the subnet that they came from. */
  vitalsMulticast: parsed(parseMulticastGroup).optional(),
  authorizedKeys: z.array(parsed(parsePublicKey)).default([]),
  /** Nodes are `red5`, and `red5.` with this behind it. One that the world does not have: `internal` is for that. */
  domain: DomainName.default('cluster.internal'),
  exports: z.array(ExportSettings).default([]),
});
export type Settings = z.infer<typeof Settings>;
