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
}

export function renderPlan(plan: BootPlan): string {
  const values = {
    NODE: plan.node,
    TIME: String(Math.floor(plan.time)),
    NBD_PORT: String(plan.nbdPort),
    DIGEST: plan.digest,
    ROOT_FORMAT: plan.rootFormat,
    OVERLAY: plan.overlay,
  };
  return Object.entries(values)
    .map(([key, value]) => `PLAN_${key}=${quote(value)}\n`)
    .join('');
}

function quote(value: string): string {
  return `'${value.replaceAll("'", `'\\''`)}'`;
}
