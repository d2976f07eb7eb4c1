import { describe, expect, test } from 'vitest';
import { parseMac } from '#src/domain/mac.ts';
import { parseSerial } from '#src/domain/serial.ts';
import { architectureCodes, firstKnownCode } from '#src/policy/architecture-codes.ts';
import { architecturesOf, classifyClient, recallClient } from '#src/policy/classify-client.ts';
import { type DhcpMessage, decodeDhcp } from '#src/protocol/dhcp/message.ts';
import { capture } from '../support/captures.ts';

const read = (name: string): DhcpMessage => decodeDhcp(capture(name));
const withOption = (message: DhcpMessage, code: number, hex: string): DhcpMessage => ({
  ...message,
  options: [...message.options.filter((option) => option.code !== code), { code, data: Buffer.from(hex, 'hex') }],
});
const without = (message: DhcpMessage, ...codes: number[]): DhcpMessage => ({
  ...message,
  options: message.options.filter((option) => !codes.includes(option.code)),
});
const text = (value: string): string => Buffer.from(value).toString('hex');

describe('captures', () => {
  test.each([
    ['pi3-rom-discover', { class: 'pi3-rom', mac: 'b8:27:eb:fe:3a:41' }],
    ['pi3-bootcode-discover', { class: 'pi3-bootcode', serial: 'b66c4c16' }],
    ['pi4-eeprom-discover', { class: 'pi4-eeprom', serial: '91cdf03d', model: 'Raspberry Pi 4B' }],
    ['pi4-rpi4-order-discover', { class: 'pi4-eeprom', serial: '91cdf03d', model: 'Raspberry Pi 4B', memoryMiB: 8192 }],
    ['pi4-option97-zero-discover', { class: 'pi3-bootcode', serial: '91cdf03d' }],
    ['pi4-own-prefix-discover', { class: 'pi4-eeprom', serial: '91cdf03d', model: 'Raspberry Pi 4B' }],
    ['pi4-no-option97-discover', { class: 'pi4-eeprom', model: 'Raspberry Pi', mac: 'e4:5f:01:09:02:f7' }],
    ['pi4-request', { class: 'lease', mac: 'e4:5f:01:09:02:f7' }],
    ['pi5-eeprom-discover', { class: 'pi5-eeprom', serial: 'f0a1b2c3', model: 'Raspberry Pi 5', memoryMiB: 8192 }],
    ['pi5-relayed-discover', { class: 'pi5-eeprom', serial: 'f0a1b2c3' }],
    ['pi5-announced-as-pi4-discover', { class: 'pi5-eeprom', model: 'Raspberry Pi 5' }],
    ['bios-pxe-discover', { class: 'pxe', model: 'PC (x86 BIOS)', pxeArch: 0 }],
    ['uefi-x64-discover', { class: 'pxe', model: 'PC (x64 UEFI)', pxeArch: 7, mac: '52:54:00:aa:bb:01' }],
    ['uefi-x64-request', { class: 'pxe', pxeArch: 7 }],
    ['uefi-x64-request-4011', { class: 'pxe', pxeArch: 7 }],
    ['ipxe-efi-discover', { class: 'ipxe', pxeArch: 7 }],
    ['uefi-x64-as-ebc-discover', { class: 'pxe', model: 'PC (x64 UEFI)', pxeArch: 9, serial: '4e2a0c5f-1b7d-9a4e-8c36-2b90d4a17e55' }],
    ['uefi-arm64-discover', { class: 'pxe', model: 'PC (ARM64 UEFI)', pxeArch: 11 }],
    ['uefi-http-discover', { class: 'uefi-http', pxeArch: 16 }],
    ['u-boot-discover', { class: 'u-boot', pxeArch: 22 }],
    ['ipxe-discover', { class: 'ipxe', serial: '11111111-2222-3333-4444-555555555555', pxeArch: 0 }],
  ])('%s', (name, want) => {
    expect(classifyClient(read(name))).toMatchObject(want);
  });
});

describe('variants', () => {
  const pi4 = read('pi4-eeprom-discover');
  const ipxe = read('ipxe-discover');
  test.each([
    [
      'a Pi 4 with the fourcc in the other order',
      withOption(pi4, 97, '00525069341431d000010902f73df0cd91'),
      { class: 'pi4-eeprom', serial: '91cdf03d' },
    ],
    [
      'a Pi 5',
      withOption(pi4, 97, '0035695052704100000109 02f73df0cd91'.replaceAll(' ', '')),
      { class: 'pi5-eeprom', serial: '91cdf03d', model: 'Raspberry Pi 5' },
    ],
    [
      'a model that nobody knows yet',
      withOption(pi4, 97, `0035695052${'f04f0000'}010902f73df0cd91`),
      { class: 'pi5-eeprom', model: 'Raspberry Pi 5 family' },
    ],
    [
      'DHCP_OPTION97=0: the serial four times under a Pi OUI',
      withOption(pi4, 97, `00${'3df0cd91'.repeat(4)}`),
      { class: 'pi3-bootcode', serial: '91cdf03d' },
    ],
    ['iPXE told by option 175 alone', without(ipxe, 77), { class: 'ipxe' }],
    ['a BIOS PXE ROM', without(ipxe, 77, 175), { class: 'pxe', pxeArch: 0, model: 'PC (x86 BIOS)' }],
    ['UEFI', withOption(without(ipxe, 77, 175), 93, '0009'), { class: 'pxe', pxeArch: 9, model: 'PC (x64 UEFI)' }],
    ['a PC without a UUID has no serial', withOption(ipxe, 97, `00${'00'.repeat(16)}`), { class: 'ipxe', mac: '52:54:00:aa:00:01' }],
    ['a UEFI HTTP client', withOption(without(ipxe, 77, 175), 60, text('HTTPClient:Arch:00016:UNDI:003001')), { class: 'uefi-http' }],
    ['U-Boot', withOption(without(ipxe, 77, 175), 60, text('U-Boot.armv8')), { class: 'u-boot' }],
    ['several architectures: the first that is known', withOption(without(ipxe, 77, 175), 93, 'ffff000b0007'), { pxeArch: 11 }],
    [
      'only architectures that nobody knows: the first',
      withOption(without(ipxe, 77, 175), 93, 'fffefffd'),
      { class: 'pxe', pxeArch: 0xfffe, model: 'PC' },
    ],
    ['an architecture cut short', withOption(without(ipxe, 77, 175), 93, '00'), { class: 'pxe', model: 'PC' }],
    ['iPXE with the length byte of RFC 3004', withOption(without(ipxe, 175), 77, `04${text('iPXE')}`), { class: 'ipxe' }],
    ["UEFI on a Pi, with the Pi's own MAC, is UEFI", { ...read('uefi-arm64-discover'), chaddr: pi4.chaddr }, { class: 'pxe', pxeArch: 11 }],
    [
      'a 3B+ with a prefix that cannot be read is a Pi all the same',
      withOption(read('pi3-bootcode-discover'), 97, `00${'0102030405060708090a0b0c0d0e0f10'}`),
      { class: 'pi3-bootcode', model: 'Raspberry Pi' },
    ],
    ['a phone', withOption(without(ipxe, 77, 175, 93, 94, 97), 60, text('android-dhcp-14')), { class: 'lease' }],
    ['Linux on a Pi, which sends no option 60', without(read('pi3-bootcode-discover'), 60, 97, 93, 94), { class: 'lease' }],
  ])('%s', (_name, message, want) => {
    expect(classifyClient(message)).toMatchObject(want);
  });
  test('no serial where none was sent', () => {
    expect(classifyClient(withOption(ipxe, 97, `00${'00'.repeat(16)}`))).not.toHaveProperty('serial');
  });
  test('hardware that is not Ethernet is nobody', () => {
    expect(classifyClient({ ...ipxe, htype: 32 })).toBeUndefined();
  });
});

describe('a REQUEST that says less than its DISCOVER', () => {
  const discovered = classifyClient(read('pi4-eeprom-discover'));
  const request = read('pi4-request');
  const said = classifyClient(request);
  if (!discovered || !said) {
    throw new Error('nobody');
  }
  test('is of the same firmware when it is of the same exchange', () => {
    expect(recallClient(said, request, { xid: request.xid, client: discovered })).toBe(discovered);
  });
  test("is the operating system's otherwise", () => {
    expect(recallClient(said, request, { xid: request.xid + 1, client: discovered }).class).toBe('lease');
    expect(recallClient(said, request, undefined).class).toBe('lease');
  });
});

test('all 42 registered architecture codes have a name', () => {
  expect([...architectureCodes.keys()]).toEqual(Array.from({ length: 42 }, (_, code) => code));
  expect(firstKnownCode(undefined)).toBeUndefined();
});

test('architectures', () => {
  expect(architecturesOf({ class: 'pi3-rom' }, undefined)).toEqual(['arm64', 'armhf']);
  expect(architecturesOf({ class: 'lease' }, parseSerial('91cdf03d'))).toEqual(['arm64', 'armhf']);
  expect(architecturesOf({ class: 'pi5-eeprom' }, parseSerial('91cdf03d'))).toEqual(['arm64']);
  expect(architecturesOf({ class: 'ipxe' }, parseSerial('11111111-2222-3333-4444-555555555555'))).toEqual(['amd64']);
  expect(architecturesOf({ class: 'ipxe', pxeArch: 11 }, undefined)).toEqual(['arm64']);
  expect(architecturesOf({ class: 'u-boot', pxeArch: 21 }, undefined)).toEqual(['armhf']);
  expect(parseMac('b827ebfe3a41')).toBe('b8:27:eb:fe:3a:41');
});
