import { describe, expect, test } from 'vitest';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { type BootOffer, bootInformation, whyNotServed } from '#src/policy/boot-information.ts';
import { type Client, classifyClient } from '#src/policy/classify-client.ts';
import { type DhcpMessage, decodeDhcp } from '#src/protocol/dhcp/message.ts';
import { capture } from '../support/captures.ts';

const facts: BootOffer = {
  mode: 'full',
  server: parseIpv4('10.77.0.1'),
  ipxeUrl: 'http://10.77.0.1:8067/ipxe/start',
  programsUrl: 'http://10.77.0.1:8067/programs/',
  uefiLoader: 'ipxe',
};

function read(name: string, arch?: number): { request: DhcpMessage; client: Client } {
  const captured = decodeDhcp(capture(name));
  const options = captured.options.map((option) =>
    option.code === 93 && arch !== undefined ? { code: 93, data: Buffer.from([0, arch]) } : option,
  );
  const request = { ...captured, options };
  const client = classifyClient(request);
  if (!client) {
    throw new Error(`${name} is nobody`);
  }
  return { request, client };
}

function told(
  name: string,
  change: Partial<BootOffer> = {},
  arch?: number,
): { siaddr: string; file: string; option67: string } | undefined {
  const { request, client } = read(name, arch);
  const boot = bootInformation(request, client, { ...facts, ...change });
  const option67 = boot?.options.find(({ code }) => code === 67)?.data.toString() ?? '';
  return boot && { siaddr: boot.siaddr, file: boot.file, option67 };
}

const tftp = (file: string): object => ({ siaddr: '10.77.0.1', file, option67: file });
const http = (file: string): object => ({ siaddr: '0.0.0.0', file: '', option67: `http://10.77.0.1:8067/programs/${file}` });

describe('what firmware is told', () => {
  test.each<[string, string, Partial<BootOffer>, number | undefined, object | undefined]>([
    ['OVMF by PXE', 'ovmf-pxe-discover', {}, 7, tftp('ipxe.efi')],
    ['x64 that calls itself EBC', 'ovmf-pxe-discover', {}, 9, tftp('ipxe.efi')],
    ['OVMF where Secure Boot is expected', 'ovmf-pxe-discover', { uefiLoader: 'grub' }, 7, tftp('shimx64.efi')],
    ['OVMF by HTTP', 'ovmf-http-discover', {}, 16, http('ipxe.efi')],
    ['OVMF by HTTP, through a proxy', 'ovmf-http-discover', { mode: 'proxy' }, 16, http('ipxe.efi')],
    ['arm64 by PXE', 'aavmf-pxe-discover', {}, 11, tftp('ipxe-arm64.efi')],
    ['arm64 where Secure Boot is expected', 'aavmf-pxe-discover', { uefiLoader: 'grub' }, 11, tftp('shimaa64.efi')],
    ['arm64 by HTTP', 'ovmf-http-discover', {}, 19, http('ipxe-arm64.efi')],
    ["U-Boot's EFI half, which sends no option 97", 'u-boot-efi-discover', {}, 11, tftp('grubaa64.efi')],
    ["U-Boot's EFI half, through a proxy", 'u-boot-efi-discover', { mode: 'proxy' }, 11, undefined],
    ['U-Boot', 'u-boot-qemu-discover', {}, 22, { siaddr: '10.77.0.1', file: '', option67: '' }],
    ['U-Boot, through a proxy', 'u-boot-qemu-discover', { mode: 'proxy' }, 22, undefined],
    ['IA32 UEFI', 'ovmf-pxe-discover', {}, 6, undefined],
    ['ARM32 UEFI', 'ovmf-pxe-discover', {}, 10, undefined],
    ['RISC-V UEFI', 'ovmf-pxe-discover', {}, 27, undefined],
    ['32-bit U-Boot', 'u-boot-qemu-discover', {}, 21, undefined],
    ['firmware of a kind that nobody described', 'ovmf-pxe-discover', {}, 99, undefined],
  ])('%s', (_name, name, change, arch, want) => {
    expect(told(name, change, arch)).toEqual(want);
  });
  test('an HTTP offer says HTTPClient in option 60, or EDK2 passes it over', () => {
    const { request, client } = read('ovmf-http-discover');
    const boot = bootInformation(request, client, facts);
    expect(boot?.options.find(({ code }) => code === 60)?.data.toString()).toBe('HTTPClient');
  });
  test.each<[string, string, number, RegExp]>([
    ['IA32 UEFI', 'ovmf-pxe-discover', 6, /IA32.*32-bit/],
    ['RISC-V', 'ovmf-pxe-discover', 27, /no images for RISC-V/],
    ['an unknown code', 'ovmf-pxe-discover', 99, /option 93 is 99/],
    ['U-Boot in proxy mode', 'u-boot-qemu-discover', 22, /serverip/],
  ])('why there is nothing is said: %s', (_name, name, arch, want) => {
    expect(whyNotServed(read(name, arch).client)).toMatch(want);
  });
});
