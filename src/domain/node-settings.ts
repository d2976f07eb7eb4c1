/** What can be said for one node, for a group, or for all nodes. What nobody says is inherited from the next wider. */
import type { ImageRef } from './image-ref.ts';
import type { Ipv4 } from './ipv4.ts';
import type { OverlayMode } from './node.ts';
import type { PublicKey } from './public-key.ts';

export type JsonValue = string | number | boolean | null | readonly JsonValue[] | { readonly [key: string]: JsonValue };
export type JsonObject = { readonly [key: string]: JsonValue };

/** Lines for config.txt, for some models only where they are named (pi3, pi4, ...: filters of config.txt). */
export interface ConfigTxtPart {
  readonly models?: readonly string[];
  readonly lines: readonly string[];
}

export interface UserAccount {
  readonly name: string;
  readonly uid?: number;
  /** Besides the one of its own. */
  readonly groups?: readonly string[];
  readonly shell?: string;
  /** Everything, without a password. */
  readonly sudo?: boolean;
  readonly authorizedKeys?: readonly PublicKey[];
  /** crypt(5). */
  readonly passwordHash?: string;
}

export interface UserGroup {
  readonly name: string;
  readonly gid?: number;
}

export interface NodeFile {
  /** Absolute. */
  readonly path: string;
  /** Absent: the file is taken away. */
  readonly content?: string;
  /** Its content is rendered with the node's record (LiquidJS). */
  readonly template?: boolean;
  /** Octal digits. */
  readonly mode?: string;
  /** `user` or `user:group`, by name. */
  readonly owner?: string;
  /** A change reaches nodes that run; all others wait for the next boot. */
  readonly live?: boolean;
}

/** A script that the node runs as root, with the node's record in its environment. */
export interface Hook {
  readonly name: string;
  readonly script: string;
}

export interface CloudInit {
  readonly userData?: JsonObject;
  readonly metaData?: JsonObject;
  readonly networkConfig?: JsonObject;
}

/** Bytes that the server draws once and only nodes that boot are given, over the channel of their one-time token. */
export interface Secret {
  readonly name: string;
  /** Where the node has it. */
  readonly path: string;
  /** The same for all nodes, or another for each. */
  readonly scope: 'cluster' | 'node';
  readonly bytes: number;
  readonly encoding: 'raw' | 'hex' | 'base64';
  readonly mode?: string;
  readonly owner?: string;
}

/** A directory of the server, below its shared directory. */
export interface SharedDirectory {
  readonly name: string;
  /** Where the node has it. */
  readonly at?: string;
  readonly writable?: boolean;
}

/** Templates, rendered with the node's record; those of a webhook are URLs. */
export interface PowerTemplates {
  readonly on?: string;
  readonly off?: string;
  /** Absent: off, and on again. */
  readonly cycle?: string;
  /** What it answers has "on" or "off" in it, true or false, 1 or 0. */
  readonly status?: string;
}

export type PowerDriver =
  | { readonly driver: 'agent' }
  | (PowerTemplates & {
      readonly driver: 'webhook';
      /** GET, or POST when there is a body. */
      readonly method?: 'GET' | 'POST' | 'PUT';
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string;
    })
  | {
      readonly driver: 'snmp';
      /** The switch, with `:port` where that is not 161. A template, as the port is. */
      readonly host: string;
      /** As in pethPsePortAdminEnable's index, group and port; the group is 1 when it is left out. */
      readonly port: string;
      readonly community?: string;
    }
  | (PowerTemplates & { readonly driver: 'command' });

export interface Resolver {
  readonly servers?: readonly Ipv4[];
  readonly search?: readonly string[];
}

export interface NodeSettings {
  readonly image?: ImageRef;
  readonly overlay?: OverlayMode;
  /** Size of overlays. They grow to it at the next boot. */
  readonly overlayBytes?: number;
  /** Size of the data volume; 0 is none. Absent everywhere: as the image wants it. */
  readonly dataBytes?: number;
  readonly kernelArguments?: readonly string[];
  readonly configTxt?: readonly ConfigTxtPart[];
  /** Of root. */
  readonly authorizedKeys?: readonly PublicKey[];
  readonly users?: readonly UserAccount[];
  readonly userGroups?: readonly UserGroup[];
  /** By SSH. Keys alone unless this says otherwise. */
  readonly passwordLogin?: boolean;
  readonly timeZone?: string;
  readonly locale?: string;
  /** As XKBLAYOUT of keyboard(5), for example `de`. */
  readonly keyboard?: string;
  readonly resolver?: Resolver;
  readonly files?: readonly NodeFile[];
  /** Once for each overlay, before the system starts its services. */
  readonly firstBoot?: readonly Hook[];
  readonly everyBoot?: readonly Hook[];
  readonly cloudInit?: CloudInit;
  readonly secrets?: readonly Secret[];
  readonly shared?: readonly SharedDirectory[];
  readonly power?: PowerDriver;
  /** How often a node tells how it does; 0 is never. Absent everywhere: every five seconds. */
  readonly vitalsSeconds?: number;
  /** For templates and hooks. */
  readonly variables?: JsonObject;
  /** Nodes are found by them. */
  readonly labels?: Readonly<Record<string, string>>;
}
