import type { DhcpMessage } from './message.ts';
import { OptionCode } from './option-code.ts';

const optionNames = new Map<number, string>(Object.entries(OptionCode).map(([name, code]) => [code, name]));

/** A message as text, one field a line: what the golden captures keep beside their bytes. */
export function dissectDhcp(message: DhcpMessage): string {
  const lines = [
    `op ${message.op} htype ${message.htype} hlen ${message.hlen} hops ${message.hops}`,
    `xid 0x${message.xid.toString(16).padStart(8, '0')} secs ${message.secs} flags 0x${message.flags.toString(16).padStart(4, '0')}`,
    `ciaddr ${message.ciaddr} yiaddr ${message.yiaddr} siaddr ${message.siaddr} giaddr ${message.giaddr}`,
    `chaddr ${message.chaddr.toString('hex')}`,
    `sname ${textOf(message.sname)} file ${textOf(message.file)}`,
    ...message.options.map(
      (option) => `option ${option.code} ${optionNames.get(option.code) ?? 'unnamed'}: ${option.data.toString('hex')}`,
    ),
    `padding ${message.padding.length}`,
  ];
  return `${lines.join('\n')}\n`;
}

function textOf(field: Buffer): string {
  const end = field.indexOf(0);
  return JSON.stringify(field.toString('latin1', 0, end === -1 ? field.length : end));
}
