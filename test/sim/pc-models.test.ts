import { describe, expect, test } from 'vitest';
import { parseIpv4 } from '#src/domain/ipv4.ts';
import { noFaults } from '#src/sim/faults.ts';
import type { MemoryNetwork } from '../support/memory-network.ts';
import { serverAddress, startTftp } from '../support/servers.ts';
import { addRouter, play } from '../support/sim-boards.ts';

const kernel = Buffer.alloc(70_000, 1);
const script = [
  '#!ipxe',
  'echo hello',
  'kernel http://10.77.0.1:8067/vmlinuz initrd=initramfs.img quiet || goto failed',
  'initrd --name initramfs.img http://10.77.0.1:8067/initramfs.img || goto failed',
  'boot || goto failed',
  ':failed',
  'reboot',
].join('\n');

/** Whole responses by path. */
function web(
  pages: Readonly<Record<string, Buffer | string>>,
  isLengthGiven = true,
): { answer: (request: string) => Buffer; asked: string[] } {
  const asked: string[] = [];
  return {
    asked,
    answer: (request) => {
      const [method = '', path = ''] = request.split(' ');
      asked.push(`${method} ${path}`);
      const page = pages[path];
      if (page === undefined) {
        return Buffer.from('HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n');
      }
      const body = Buffer.from(page);
      const length = isLengthGiven ? `Content-Length: ${body.length}\r\n` : '';
      const head = Buffer.from(`HTTP/1.1 200 OK\r\n${length}Content-Type: application/efi\r\n\r\n`);
      return method === 'HEAD' ? head : Buffer.concat([head, body]);
    },
  };
}

type Options = readonly (readonly [code: number, data: readonly number[] | string])[];

/** A DHCP server of a few bytes, so that no codec of ours is its own judge. */
function addServer(
  network: MemoryNetwork,
  offer: Options,
  more: { yiaddr?: boolean; siaddr?: boolean; port?: number; file?: string } = {},
): void {
  const port = more.port ?? 67;
  const endpoint = network.open(serverAddress, port, (data, peer) => {
    const reply = Buffer.alloc(240);
    data.copy(reply, 0, 0, 44);
    reply[0] = 2;
    if (more.yiaddr !== false) {
      reply.set([10, 77, 0, 20], 16);
    }
    if (more.siaddr !== false) {
      reply.set([10, 77, 0, 1], 20);
    }
    reply.write(more.file ?? '', 108, 'latin1');
    reply.writeUInt32BE(0x63825363, 236);
    const type = data[242] === 3 ? 5 : 2;
    const options: Options = [[53, [type]], [54, [10, 77, 0, 1]], [1, [255, 255, 255, 0]], ...offer];
    const bytes = options.map(([code, value]) =>
      Buffer.concat([Buffer.from([code, value.length]), typeof value === 'string' ? Buffer.from(value, 'latin1') : Buffer.from(value)]),
    );
    const to = port === 67 ? { address: parseIpv4('255.255.255.255'), port: 68 } : peer;
    endpoint.send(Buffer.concat([reply, ...bytes, Buffer.from([255])]), to);
  });
}

describe('iPXE', () => {
  const pages = { '/ipxe/start': script, '/vmlinuz': kernel, '/initramfs.img': Buffer.alloc(3000) };
  test('runs the script that our server names, to its kernel', async () => {
    const http = web(pages);
    const { result } = await play('ipxe', { http: http.answer });
    expect(result).toMatchObject({ booted: true, violations: [], boot: { kernelBytes: 70_000, initramfsBytes: 3000 } });
    expect(http.asked).toEqual(['GET /ipxe/start', 'GET /vmlinuz', 'GET /initramfs.img']);
  });
  test('jumps where the script says when a file is not there, and does not boot', async () => {
    const http = web({ '/ipxe/start': script, '/vmlinuz': kernel });
    const { result } = await play('ipxe', { http: http.answer });
    expect(result.failure).toMatch(/says "reboot"/);
  });
  test('takes a proxy that names a file, and the address from the router', async () => {
    const http = web(pages);
    const { result } = await play('ipxe', { mode: 'proxy', setUp: addRouter, http: http.answer });
    expect(result).toMatchObject({ booted: true, boot: { address: '10.77.0.20' } });
  });
});

describe('a PXE ROM', () => {
  test.each([
    ['pc-bios', 'undionly.kpxe'],
    ['pc-uefi', 'ipxe.efi'],
  ])('%s loads %s by TFTP and goes on as iPXE', async (model, file) => {
    const http = web({ '/ipxe/start': script, '/vmlinuz': kernel, '/initramfs.img': '' });
    const { result, asked } = await play(model, {
      http: http.answer,
      answer: (path) => (path === file ? { kind: 'found', bytes: kernel } : undefined),
    });
    expect(asked).toEqual([file, file]);
    expect(result).toMatchObject({ booted: true, violations: [], bytes: 70_000 + 70_000 + script.length });
  });
  test.each([1, 2, 3])('loads the program through loss, duplicates and reordering, seed %i', async (seed) => {
    const { result } = await play('pc-uefi', {
      withoutServers: true,
      faults: { ...noFaults, loss: 0.03, dup: 0.03, reorder: 0.03, latencyMs: 1, seed },
      setUp: (network) => {
        addServer(network, [
          [60, 'PXEClient'],
          [67, 'grub.efi'],
        ]);
        startTftp(network, () => ({ kind: 'found', bytes: kernel }));
      },
    });
    expect(result).toMatchObject({ booted: true, bytes: kernel.length });
  });
  test('goes to port 4011 when the offer has nothing but option 60', async () => {
    const { result, asked } = await play('pc-uefi', {
      withoutServers: true,
      setUp: (network) => {
        addServer(network, [[60, 'PXEClient']]);
        addServer(network, [[60, 'PXEClient']], { port: 4011, file: 'shimx64.efi' });
        startTftp(network, (name) => (name === 'shimx64.efi' ? { kind: 'found', bytes: kernel } : { kind: 'missing', expected: false }));
      },
    });
    expect(asked).toEqual([]);
    expect(result).toMatchObject({ booted: true, violations: [], boot: { kernelBytes: 70_000 } });
  });
  test('is not booted by a server that offers and then names nothing', async () => {
    const { result } = await play('pc-uefi', { withoutServers: true, setUp: (network) => addServer(network, [[60, 'PXEClient']]) });
    expect(result.failure).toMatch(/named nothing, neither in its offer nor at port 4011/);
  });
  test('chokes on an OACK with an option that it did not ask for', async () => {
    const { result } = await play('pc-uefi', {
      withoutServers: true,
      setUp: (network) => {
        addServer(network, [
          [60, 'PXEClient'],
          [67, 'grub.efi'],
        ]);
        const endpoint = network.open(serverAddress, 69, (_data, peer) =>
          endpoint.send(Buffer.from('\0\u0006tsize\x005\0blksize\x009000\0rollover\x000\0', 'latin1'), peer),
        );
      },
    });
    expect(result.violations.slice(0, 2)).toEqual([
      "grub.efi: the OACK's blksize is 9000, asked was 1468",
      'grub.efi: the OACK has an option that was not asked, rollover',
    ]);
  });
});

describe('UEFI HTTP boot', () => {
  const offer: Options = [
    [60, 'HTTPClient'],
    [67, 'http://10.77.0.1:8067/boot.efi'],
  ];
  test('asks HEAD, then GET', async () => {
    const http = web({ '/boot.efi': kernel });
    const { result } = await play('uefi-http', { withoutServers: true, http: http.answer, setUp: (network) => addServer(network, offer) });
    expect(result).toMatchObject({ booted: true, violations: [], boot: { kernelBytes: 70_000 } });
    expect(http.asked).toEqual(['HEAD /boot.efi', 'GET /boot.efi']);
  });
  test('fails without Content-Length', async () => {
    const http = web({ '/boot.efi': kernel }, false);
    const { result } = await play('uefi-http', { withoutServers: true, http: http.answer, setUp: (network) => addServer(network, offer) });
    expect(result.failure).toMatch(/no Content-Length/);
  });
  test('passes over an offer that does not say HTTPClient', async () => {
    const { result } = await play('uefi-http', {
      withoutServers: true,
      setUp: (network) => addServer(network, [[60, 'PXEClient'], ...offer.slice(1)]),
    });
    expect(result.failure).toMatch(/no server offered something to boot/);
  });
});

describe('U-Boot', () => {
  test('looks for its configuration in the order of pxe_utils.c and boots the default label', async () => {
    const asked: string[] = [];
    const text = 'default cardless\nlabel other\n kernel wrong\nlabel cardless\n kernel vmlinuz\n initrd initramfs.img\n append quiet\n';
    const { result } = await play('u-boot', {
      withoutServers: true,
      setUp: (network) => {
        addServer(network, []);
        startTftp(network, (name) => {
          asked.push(name);
          if (name === 'pxelinux.cfg/0A4D0014') {
            return { kind: 'found', bytes: Buffer.from(text) };
          }
          return name.startsWith('pxelinux.cfg/') ? { kind: 'missing', expected: true } : { kind: 'found', bytes: kernel };
        });
      },
    });
    expect(result).toMatchObject({ booted: true, violations: [], boot: { kernelBytes: 70_000, initramfsBytes: 70_000 } });
    expect(asked.slice(1)).toEqual([
      `pxelinux.cfg/01-${result.mac.replaceAll(':', '-')}`,
      'pxelinux.cfg/0A4D0014',
      'vmlinuz',
      'initramfs.img',
    ]);
  });
});
