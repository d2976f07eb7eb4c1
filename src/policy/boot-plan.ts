/** The plan: what our initramfs needs to know, as lines that a POSIX shell can read. */
import type { ImageDigest } from '../domain/image.ts';
import type { NodeName, OverlayMode } from '../domain/node.ts';

export interface BootPlan {
  readonly node: NodeName;
  /** Seconds since the epoch: boards without a clock start in 1970. */
  readonly time: number;
  readonly nbdPort: number;
  readonly digest: ImageDigest;
  readonly rootFormat: 'erofs' | 'squashfs';
  readonly overlay: OverlayMode;
  /** Of the node's memory, for an ephemeral overlay. */
  readonly ephemeralPercent: number;
  readonly dataVolume: boolean;
}

/** The disks are not fit for this boot: the initramfs says why, and starts over later. */
export interface BootRefusal {
  readonly node: NodeName;
  readonly time: number;
  readonly reason: string;
}

export function renderPlan(plan: BootPlan): string {
  const values = {
    NODE: plan.node,
    TIME: String(Math.floor(plan.time)),
    NBD_PORT: String(plan.nbdPort),
    DIGEST: plan.digest,
    ROOT_FORMAT: plan.rootFormat,
    OVERLAY: plan.overlay,
    OVERLAY_SIZE: `${plan.ephemeralPercent}%`,
    DATA: plan.dataVolume ? 'yes' : 'no',
  };
  return lines(values);
}

export function renderRefusal({ node, time, reason }: BootRefusal): string {
  return lines({ NODE: node, TIME: String(Math.floor(time)), REFUSAL: reason.replaceAll(/[^\x20-\x7e]/g, ' ') });
}

function lines(values: Readonly<Record<string, string>>): string {
  return Object.entries(values)
    .map(([key, value]) => `PLAN_${key}=${quote(value)}\n`)
    .join('');
}

function quote(value: string): string {
  return `'${value.replaceAll("'", `'\\''`)}'`;
}
