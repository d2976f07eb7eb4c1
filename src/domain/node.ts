import { UserError } from './errors.ts';
import type { GroupName } from './group.ts';
import type { ImageRef } from './image-ref.ts';
import type { Ipv4 } from './ipv4.ts';
import type { Mac } from './mac.ts';
import type { NodeSettings } from './node-settings.ts';
import type { Carry } from './overlay.ts';
import type { Serial } from './serial.ts';

declare const brand: unique symbol;
/** A host name label (RFC 1123 section 2.1), lower case. */
export type NodeName = string & { readonly [brand]: 'NodeName' };

export const overlayModes = ['persistent', 'ephemeral'] as const;
export type OverlayMode = (typeof overlayModes)[number];

/** A board or PC that we boot, as it is in the registry. */
export interface NodeRecord {
  readonly name: NodeName;
  /** Absent while the node is registered by its MAC alone, or before its board is known. */
  readonly serial?: Serial;
  /** Learnt from what the board sends, or registered. */
  readonly macs: readonly Mac[];
  readonly model?: string;
  /** Wanted by the operator. Absent: any free one. */
  readonly address?: Ipv4;
  readonly group?: GroupName;
  /** What was said for this node alone. */
  readonly own: NodeSettings;
  /** The overlay is made anew at the next boot. */
  readonly reimage: boolean;
  /** Ends when the next boot has done it. */
  readonly carry?: Carry;
  /** Its firmware hears nothing from us, so it goes on to its next boot device. A running system keeps its address. */
  readonly hold?: boolean;
}

/** A node with all that holds for it: its own settings, those of its groups, and those of all nodes. */
export interface Node extends NodeRecord {
  readonly settings: NodeSettings;
  /** From the group of its own to the widest. */
  readonly groups: readonly GroupName[];
  /** What it stands for is looked up when the node begins to boot. */
  readonly image: ImageRef;
  readonly overlay: OverlayMode;
  /** Size of its overlays, where it is not the usual one. They grow to it at the next boot. */
  readonly overlayBytes?: number;
  /** Size of its data volume; 0 is none. Absent: as its image wants it. */
  readonly dataBytes?: number;
}

const nodeName = /^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/;

export function isNodeName(input: string): input is NodeName {
  return nodeName.test(input);
}

/** @throws UserError bad-input */
export function parseNodeName(input: string): NodeName {
  if (!isNodeName(input)) {
    throw new UserError('bad-input', `"${input}" is not a node name`, {
      hint: 'Up to 63 lower-case letters, digits and dashes, for example red5',
    });
  }
  return input;
}

/** @throws UserError bad-input */
export function parseOverlayMode(input: string): OverlayMode {
  const mode = overlayModes.find((name) => name === input);
  if (!mode) {
    throw new UserError('bad-input', `"${input}" is not an overlay mode`, { hint: `One of: ${overlayModes.join(', ')}` });
  }
  return mode;
}

/** A machine that asked to boot from the network and is not registered. */
export interface UnclaimedBoard {
  readonly mac: Mac;
  readonly serial?: Serial;
  readonly model?: string;
  readonly memoryMiB?: number;
  /** What kind of firmware asked, as in ClientClass. */
  readonly client: string;
  readonly interfaceName: string;
  readonly firstSeen: number;
  readonly lastSeen: number;
  readonly count: number;
}
