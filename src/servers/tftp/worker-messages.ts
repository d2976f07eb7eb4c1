import type { Pace, TransferOutcome } from '../../policy/tftp-transfer.ts';
import type { TftpOption } from '../../protocol/tftp/packet.ts';

/** What the server tells a data thread. */
export type Command =
  | { readonly kind: 'listen'; readonly group: number; readonly fds: readonly number[] }
  | { readonly kind: 'forget'; readonly group: number }
  | {
      readonly kind: 'open';
      readonly id: number;
      readonly group: number;
      /** 32 bits. */
      readonly address: number;
      readonly port: number;
      /** Where the file is; the server keeps it there until it hears of the end. */
      readonly memory: number;
      readonly size: number;
      readonly asked: readonly TftpOption[];
      readonly pace: Pace;
    }
  | { readonly kind: 'again' | 'stop'; readonly id: number }
  | { readonly kind: 'close' };

/** What a data thread tells the server. After `stop` the outcome is absent. */
export interface Ended {
  readonly id: number;
  readonly outcome?: TransferOutcome;
}
