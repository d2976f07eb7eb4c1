/** How the blocks of a transfer travel once its file is known. */
import type { UdpPeer } from '../../net/udp-endpoint.ts';
import type { Pace, TransferOutcome } from '../../policy/tftp-transfer.ts';
import type { TftpOption } from '../../protocol/tftp/packet.ts';

export interface DataRequest {
  readonly peer: UdpPeer;
  readonly bytes: Buffer;
  readonly asked: readonly TftpOption[];
  readonly pace: Pace;
  /** Called at most once. After `stop` only for a transfer that had ended before. */
  readonly onEnd: (outcome: TransferOutcome) => void;
}

export interface OpenTransfer {
  /** The client asked for the same file from the same port once more. */
  again(): void;
  stop(): void;
}

export interface DataPath {
  open(request: DataRequest): OpenTransfer;
  close(): Promise<void>;
}

/** A client names a transfer by its address and port. */
export function keyOf(peer: UdpPeer): string {
  return `${peer.address}:${peer.port}`;
}
