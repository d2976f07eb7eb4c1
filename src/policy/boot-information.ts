/** What each firmware needs to be told to go on from DHCP to its boot files (pi-netboot A.2 and section 5). */
import { anyAddress, type Ipv4 } from '../domain/ipv4.ts';
import { type DhcpMessage, type DhcpOption, optionOf } from '../protocol/dhcp/message.ts';
import { OptionCode } from '../protocol/dhcp/option-code.ts';
import { raspberryPiMenu, useBootFileName } from '../protocol/dhcp/pxe-vendor.ts';
import { architectureCodes } from './architecture-codes.ts';
import { type Client, isPi } from './classify-client.ts';
import { bootPrograms, type UefiLoader, ubootPrograms, unservedReasons } from './client-tables.ts';

export interface BootOffer {
  /** Our address on the interface that heard the request. */
  readonly server: Ipv4;
  readonly mode: 'full' | 'proxy' | 'off';
  /** Where iPXE continues. */
  readonly ipxeUrl: string;
  /** Where boot programs are by HTTP; ends with a slash. */
  readonly programsUrl: string;
  readonly uefiLoader: UefiLoader;
}

export interface BootInformation {
  readonly siaddr: Ipv4;
  readonly file: string;
  readonly options: readonly DhcpOption[];
}

export const noBoot: BootInformation = { siaddr: anyAddress, file: '', options: [] };

/** What this firmware needs to go on; undefined when we have nothing for it. */
export function bootInformation(request: DhcpMessage, client: Client, facts: BootOffer): BootInformation | undefined {
  if (client.class === 'lease') {
    return noBoot;
  }
  const pxe = [option(OptionCode.VendorClassIdentifier, 'PXEClient'), ...echo(request, OptionCode.ClientMachineIdentifier)];
  if (isPi(client)) {
    // Option 66 as text and 43 name the same server; which of them a firmware heeds differs by model and build.
    // Option 67 is left out: Pis take TFTP for a file system and ignore it.
    const options = [...pxe, option(OptionCode.VendorSpecific, raspberryPiMenu()), option(OptionCode.TftpServerName, facts.server)];
    return { siaddr: facts.server, file: '', options };
  }
  switch (client.class) {
    case 'ipxe':
      return { siaddr: facts.server, file: facts.ipxeUrl, options: [...pxe, option(OptionCode.BootfileName, facts.ipxeUrl)] };
    case 'pxe': {
      const hasMachine = optionOf(request, OptionCode.ClientMachineIdentifier) !== undefined;
      const forUBoot = hasMachine ? undefined : ubootPrograms.get(client.pxeArch ?? 0);
      const program = forUBoot ?? programFor(client, facts);
      if (program === undefined || (facts.mode === 'proxy' && forUBoot !== undefined)) {
        return undefined;
      }
      const options = [...pxe, option(OptionCode.VendorSpecific, useBootFileName()), option(OptionCode.BootfileName, program)];
      return { siaddr: facts.server, file: program, options };
    }
    case 'uefi-http': {
      const program = programFor(client, facts);
      return program === undefined ? undefined : httpBoot(`${facts.programsUrl}${program}`, request);
    }
    case 'u-boot':
      // It takes no file name: `pxe get` asks siaddr for pxelinux.cfg/01-<mac>.
      return facts.mode === 'proxy' || unservedReasons.has(client.pxeArch ?? 0)
        ? undefined
        : { siaddr: facts.server, file: '', options: echo(request, OptionCode.ClientMachineIdentifier) };
    default:
      return undefined;
  }
}

/** Why bootInformation has nothing for this machine of ours, for people. */
export function whyNotServed(client: Client): string {
  const name = architectureCodes.get(client.pxeArch ?? 0)?.name ?? `option 93 is ${client.pxeArch}`;
  const reason = unservedReasons.get(client.pxeArch ?? 0);
  if (reason !== undefined) {
    return `${name}: ${reason}`;
  }
  return client.class === 'u-boot' || bootPrograms.has(client.pxeArch ?? 0)
    ? 'U-Boot takes the first DHCP offer for the only one, so in proxy mode it is left to the router; give it serverip by hand'
    : `${name}: no boot program is for it`;
}

function programFor(client: Client, facts: BootOffer): string | undefined {
  return bootPrograms.get(client.pxeArch ?? 0)?.[facts.uefiLoader];
}

/**
 * UEFI 2.10 section 24.7.3: HTTPClient in option 60 is what makes it an HTTP offer, and the name is an absolute URI. The
 * same offer without an address is what EDK2 takes from a proxy.
 */
function httpBoot(url: string, request: DhcpMessage): BootInformation {
  const options = [
    option(OptionCode.VendorClassIdentifier, 'HTTPClient'),
    ...echo(request, OptionCode.ClientMachineIdentifier),
    option(OptionCode.BootfileName, url),
  ];
  return { siaddr: anyAddress, file: '', options };
}

export function option(code: number, data: Buffer | string | readonly number[]): DhcpOption {
  return { code, data: typeof data === 'string' ? Buffer.from(data, 'latin1') : Buffer.from(data) };
}

function echo(request: DhcpMessage, code: number): DhcpOption[] {
  const data = optionOf(request, code);
  return data ? [{ code, data }] : [];
}
