import type { Hardware } from './hardware.ts';
import type { Architecture, ImageDigest } from './image.ts';
import type { Ipv4 } from './ipv4.ts';
import type { Mac } from './mac.ts';
import type { NodeName } from './node.ts';

/** How far a boot has come, in this order. */
export const bootStages = ['dhcp', 'firmware', 'kernel', 'initramfs', 'root', 'ready'] as const;
export type BootStage = (typeof bootStages)[number];

export interface BootEvent {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly stage: BootStage;
  /** Constant words, for example `file sent`. */
  readonly what: string;
  readonly detail?: string;
}

/** The `what` of a line of the boot loader's own log. */
export const consoleEvent = 'netconsole';

/** What a node's settings put into the texts of its boot loader. */
export interface BootConfiguration {
  readonly kernelArguments: readonly string[];
  /** Lines, under filters of models. */
  readonly configTxt: readonly string[];
}

/** One boot of one node, bound to one image version and one rendered configuration. */
export interface BootSession {
  readonly id: string;
  readonly node: NodeName;
  readonly arch: Architecture;
  /** What the client looked like when the session was opened, as in ClientClass. */
  readonly client: string;
  readonly digest: ImageDigest;
  /** As it was when the session was opened. Absent: nothing of its own. */
  readonly configuration?: BootConfiguration;
  /** Hashes of what the node was given with its seed, and live after it, by what it is. */
  readonly content?: Readonly<Record<string, string>>;
  readonly token: string;
  /** Of the NIC that the firmware booted from. */
  readonly mac?: Mac;
  /** Set when the seed is fetched; what the agent uses from then on, when the token no longer works. */
  readonly agentKey?: string;
  readonly address?: Ipv4;
  /** As the agent told it. */
  readonly hardware?: Hardware;
  readonly startedAt: number;
  readonly stage: BootStage;
  readonly outcome: 'running' | 'ready' | 'failed' | 'replaced';
  readonly failure?: string;
  readonly events: readonly BootEvent[];
}
