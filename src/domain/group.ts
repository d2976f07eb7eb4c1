import { UserError } from './errors.ts';
import type { NodeSettings } from './node-settings.ts';

declare const brand: unique symbol;
export type GroupName = string & { readonly [brand]: 'GroupName' };

/** What nodes inherit. */
export interface Group {
  readonly name: GroupName;
  /** What it inherits itself. */
  readonly parent?: GroupName;
  readonly settings: NodeSettings;
}

/** Stands for every node wherever a group can be named. */
export const everybody = 'all';

/** @throws UserError bad-input */
export function parseGroupName(input: string): GroupName {
  if (!/^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$/.test(input) || input === everybody) {
    const why = input === everybody ? 'stands for all nodes and cannot be the name of a group' : 'is not the name of a group';
    throw new UserError('bad-input', `"${input}" ${why}`, {
      hint: 'Up to 63 lower-case letters, digits, dashes and underscores, for example workers',
    });
  }
  return input as GroupName;
}
