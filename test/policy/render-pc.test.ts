import { describe, expect, test } from 'vitest';
import { type Architecture, architectures, parseImageDigest, parseImageName } from '#src/domain/image.ts';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { parseMac } from '#src/domain/mac.ts';
import { parseNodeName } from '#src/domain/node.ts';
import { type BootFacts, renderGrubCfg, renderIpxeBoot, renderPxelinuxCfg } from '#src/policy/render-config.ts';
import { isExpectedMissing } from '#src/policy/tftp-path.ts';

const facts = (arch: Architecture): BootFacts => ({
  node: parseNodeName('pc1'),
  image: { name: parseImageName('debian-13'), digest: parseImageDigest('a'.repeat(64)), arch, kernelArguments: ['cgroup_memory=1'] },
  mac: parseMac('525400123456'),
  server: parseIpv4('10.77.0.1'),
  httpPort: 8067,
  token: 'secret',
});
const argumentsOf = (text: string, begin: RegExp): string[] =>
  (text.split('\n').find((line) => begin.test(line)) ?? '')
    .split(/\s+/)
    .filter((word) => /^(console|cardless|BOOTIF|panic|net\.|cgroup)/.test(word));

describe('what PCs read', () => {
  test.each(architectures)('the kernel of %s gets the same arguments from iPXE, GRUB and U-Boot', (arch) => {
    const ipxe = argumentsOf(renderIpxeBoot(facts(arch)), /^kernel /);
    expect(ipxe).toContain('cardless.token=secret');
    expect(ipxe).toContain('cgroup_memory=1');
    expect(ipxe).toContain('BOOTIF=01-52-54-00-12-34-56');
    expect(argumentsOf(renderGrubCfg(facts(arch)), /^if linux /).map((word) => word.replace(/;$/, ''))).toEqual(ipxe);
    expect(argumentsOf(renderPxelinuxCfg(facts(arch)), /^ {2}append /)).toEqual(ipxe);
  });
  test('only the console of an amd64 PC is told: arm64 firmware names its own', () => {
    expect(renderIpxeBoot(facts('amd64'))).toContain('console=ttyS0');
    expect(renderIpxeBoot(facts('arm64'))).not.toContain('console=');
  });
  test('GRUB fetches by HTTP, U-Boot the plain kernel by TFTP', () => {
    expect(renderGrubCfg(facts('amd64'))).toContain('(http,10.77.0.1:8067)/boot/secret/vmlinuz');
    expect(renderGrubCfg(facts('arm64'))).toContain('(http,10.77.0.1:8067)/boot/secret/kernel8.img');
    expect(renderPxelinuxCfg(facts('arm64'))).toContain('kernel /Image\n');
    expect(renderPxelinuxCfg(facts('armhf'))).toContain('kernel /kernel7.img\n');
  });
  test('what their firmware asks in vain is expected', () => {
    const asked = [
      'autoexec.ipxe',
      'revocations_sku.efi',
      'revocations_sbat.efi',
      'shim_certificate_0.efi',
      'grub/x86_64-efi/command.lst',
      'grub/grub.cfg-01-52-54-00-12-34-56',
      '0A4E00A9.img',
      'boot.scr.uimg',
      'pxelinux.cfg/0A4E00A9',
      'dtbs/.dtb',
      'dtb',
    ];
    expect(asked.filter((name) => !isExpectedMissing(name))).toEqual([]);
    expect(['ipxe.efi', 'shimx64.efi', 'grubx64.efi', 'Image', 'vmlinuz', 'grub/grub.cfg'].filter(isExpectedMissing)).toEqual([]);
  });
});
