/** What a copy of a node's disk is worth, as the server says it and as people read it. */
import { z } from 'zod';

export const CopiedState = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('unused') }),
  z.object({ kind: z.literal('frozen'), frozenMs: z.number() }),
  z.object({ kind: z.literal('crash-consistent'), reason: z.string() }),
]);
export type CopiedState = z.infer<typeof CopiedState>;

export function copiedText(state: CopiedState): string {
  switch (state.kind) {
    case 'unused':
      return 'the node was not running';
    case 'frozen':
      return `the node held its disk still for ${(state.frozenMs / 1000).toFixed(1)} s`;
    case 'crash-consistent':
      return `the disk is as after a power cut (${state.reason}); what the node had not written yet is missing`;
    default:
      return state satisfies never;
  }
}
