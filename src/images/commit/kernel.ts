/** Which kernel the new version boots, when packages on the node may have brought another. */
import { UserError } from '../../domain/errors.ts';
import type { Architecture } from '../../domain/image.ts';

export interface KernelFacts {
  readonly arch: Architecture;
  /** What the parent boots; boards of several kinds may have one each. */
  readonly current: readonly string[];
  /** Versions with modules in the image that the node booted. */
  readonly before: readonly string[];
  /** The same in the tree that is to be packed. */
  readonly now: readonly string[];
  /** Versions with a file /boot/vmlinuz-VERSION in it. */
  readonly kernels: readonly string[];
}

export type KernelPlan = { readonly kind: 'same' } | { readonly kind: 'new'; readonly version: string };

/** @throws UserError failed, with the remedy */
export function planKernel({ arch, current, before, now, kernels }: KernelFacts): KernelPlan {
  const added = now.filter((version) => !before.includes(version));
  const [version, another] = added;
  if (version === undefined) {
    const missing = current.find((wanted) => !now.includes(wanted));
    if (missing === undefined) {
      return { kind: 'same' };
    }
    throw new UserError('failed', `The modules of the kernel ${missing}, which the image boots, were removed on the node`, {
      hint: `Keep them with --exclude /usr/lib/modules/${missing}, or install a kernel package on the node`,
    });
  }
  const without = `--exclude '/usr/lib/modules/${version}' --exclude '/boot/*-${version}'`;
  if (another !== undefined) {
    throw new UserError('failed', `The node has modules of ${added.length} new kernels: ${added.join(', ')}`, {
      hint: 'Remove all but one of the packages on the node, or leave kernels out with --exclude',
    });
  }
  if (arch !== 'amd64' || current.length > 1) {
    throw new UserError('failed', `The kernel ${version} was installed on the node; a board's kernel and device trees are not committed`, {
      hint: `Build or import an image with that kernel, or commit without it: ${without}`,
    });
  }
  if (!kernels.includes(version)) {
    throw new UserError('failed', `There are modules of the kernel ${version}, but no /boot/vmlinuz-${version}`, {
      hint: `Install the kernel's package on the node, or commit without it: ${without}`,
    });
  }
  return { kind: 'new', version };
}
