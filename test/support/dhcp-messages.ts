/** DHCP messages for tests: captures with other options, and who they are from. */
import type { Ipv4 } from '#src/domain/ipv4.ts';
import { type Client, classifyClient } from '#src/policy/classify-client.ts';
import type { DhcpDecision } from '#src/policy/decide-dhcp.ts';
import { type DhcpMessage, type DhcpOption, decodeDhcp } from '#src/protocol/dhcp/message.ts';
import { capture } from './captures.ts';

export const read = (name: string): DhcpMessage => decodeDhcp(capture(name));

export const addressBytes = (address: Ipv4): Buffer => Buffer.from(address.split('.').map(Number));

/** Option data as bytes, text or hex digits are all easy to get wrong: bytes only. */
export function withOptions(
  base: DhcpMessage,
  options: Readonly<Record<number, Buffer | undefined>>,
  change: Partial<DhcpMessage> = {},
): DhcpMessage {
  const codes = Object.keys(options).map(Number);
  const added = Object.entries(options).flatMap(([code, data]): DhcpOption[] => (data ? [{ code: Number(code), data }] : []));
  return { ...base, ...change, options: [...base.options.filter(({ code }) => !codes.includes(code)), ...added] };
}

/** The same machine, whose operating system asks now: none of the options that firmware sends. */
export function fromSystem(base: DhcpMessage): DhcpMessage {
  return withOptions(base, { 60: undefined, 77: undefined, 93: undefined, 94: undefined, 97: undefined, 175: undefined });
}

export function clientOf(message: DhcpMessage): Client {
  const client = classifyClient(message);
  if (!client) {
    throw new Error('nobody');
  }
  return client;
}

export function replyOf(decision: DhcpDecision): DhcpMessage {
  if (decision.kind === 'silence' || decision.kind === 'probe') {
    throw new Error(JSON.stringify(decision));
  }
  return decision.reply;
}
