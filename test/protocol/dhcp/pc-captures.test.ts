import { describe, expect, test } from 'vitest';
import { classifyClient } from '#src/policy/classify-client.ts';
import { dissectDhcp } from '#src/protocol/dhcp/dissect.ts';
import { decodeDhcp, encodeDhcp } from '#src/protocol/dhcp/message.ts';
import { capture, rendering } from '../../support/captures.ts';

/** QEMU was given 5f0c2a4e-7d1b-...: EFI firmware sends the first three fields as SMBIOS has them, little endian. */
const serial = '4e2a0c5f-1b7d-9a4e-8c36-2b90d4a17e55';

describe('golden captures of the clients of e2e-qemu/clients.test.ts', () => {
  const captures: readonly [string, object][] = [
    ['ovmf-pxe-discover', { class: 'pxe', pxeArch: 7, serial }],
    ['ovmf-pxe-boot-server-request', { class: 'pxe', pxeArch: 7, serial }],
    ['ovmf-http-discover', { class: 'uefi-http', pxeArch: 16, serial }],
    ['ipxe-efi-discover', { class: 'ipxe', pxeArch: 7, serial }],
    ['aavmf-pxe-discover', { class: 'pxe', pxeArch: 11, serial }],
    ['ipxe-arm64-discover', { class: 'ipxe', pxeArch: 11, serial }],
    ['u-boot-qemu-discover', { class: 'u-boot', pxeArch: 22 }],
    ['u-boot-efi-discover', { class: 'pxe', pxeArch: 11 }],
  ];
  test.each(captures)('%s reads as its rendering says, is who we say, and encodes to the same bytes', (name, want) => {
    const message = decodeDhcp(capture(name));
    expect(dissectDhcp(message)).toBe(rendering(name));
    expect(classifyClient(message)).toMatchObject({ mac: '52:54:00:12:34:56', ...want });
    expect(encodeDhcp(message).toString('hex')).toBe(capture(name).toString('hex'));
  });
});
