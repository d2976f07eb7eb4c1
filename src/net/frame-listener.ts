import { closeSync, readFileSync } from 'node:fs';
import type { Ipv4 } from '../domain/ipv4.ts';
import { type Mac, macFromBytes } from '../domain/mac.ts';
import { openUdpFrameDescriptor, receiveFrame } from './libc.ts';
import { readDatagram } from './read-datagram.ts';

const pollMs = 50;
/** Of one turn, so that a flood holds up nothing else. */
const maxFramesPerPoll = 256;
const maxPacketBytes = 65_536;

export interface FrameSender {
  readonly mac: Mac;
  readonly address: Ipv4;
}

export interface FrameListenerOptions {
  readonly interfaceName: string;
  readonly port: number;
  readonly onMessage: (data: Buffer, sender: FrameSender) => void;
  readonly onError: (error: Error) => void;
}

/**
 * Hears UDP to a port on an interface together with the MAC of its sender, also from addresses that the kernel would
 * not take packets from (reverse path filter, RFC 3704), and whatever MAC they are sent to: that of a Pi bootloader's log
 * is 00:00:00:00:00:00, also when NETCONSOLE names another (raspberrypi/firmware#1745). The port stays free, and what else holds it is not disturbed.
 * Node cannot watch such a descriptor, so it is asked now and then; the kernel filters. The result stops it.
 * @throws SystemError, for example EPERM
 */
export function listenToFrames(options: FrameListenerOptions): () => void {
  const index = Number(readFileSync(`/sys/class/net/${options.interfaceName}/ifindex`, 'utf8'));
  const fd = openUdpFrameDescriptor(index, options.port);
  const buffer = Buffer.alloc(maxPacketBytes);
  const timer = setInterval(() => {
    try {
      drain(fd, buffer, options);
    } catch (error) {
      // The link went down, for one; the descriptor lives on.
      options.onError(error instanceof Error ? error : new Error(String(error)));
    }
  }, pollMs);
  return () => {
    clearInterval(timer);
    closeSync(fd);
  };
}

function drain(fd: number, buffer: Buffer, { port, onMessage }: FrameListenerOptions): void {
  for (let count = 0; count < maxFramesPerPoll; count += 1) {
    const frame = receiveFrame(fd, buffer);
    if (!frame) {
      return;
    }
    const datagram = readDatagram(frame.packet);
    if (datagram?.port === port && frame.hardwareAddress.length === 6) {
      onMessage(datagram.data, { mac: macFromBytes(frame.hardwareAddress), address: datagram.peer.address });
    }
  }
}
