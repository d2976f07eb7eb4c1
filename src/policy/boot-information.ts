/** What each firmware needs to be told to go on from DHCP to its boot files (pi-netboot A.2 and section 5). */
import { anyAddress, type Ipv4 } from '../domain/ipv4.ts';
import { type DhcpMessage, type DhcpOption, optionOf } from '../protocol/dhcp/message.ts';
import { OptionCode } from '../protocol/dhcp/option-code.ts';
import { raspberryPiMenu, useBootFileName } from '../protocol/dhcp/pxe-vendor.ts';
import { type Client, isPi } from './classify-client.ts';
import { pxeArchitectures } from './client-tables.ts';

export interface BootOffer {
  /** Our address on the interface that heard the request. */
  readonly server: Ipv4;
  /** Where iPXE continues. */
  readonly ipxeUrl: string;
}

export interface BootInformation {
  readonly siaddr: Ipv4;
  readonly file: string;
  readonly options: readonly DhcpOption[];
}

export const noBoot: BootInformation = { siaddr: anyAddress, file: '', options: [] };

/** What this firmware needs to go on; undefined when we have nothing for it. */
export function bootInformation(request: DhcpMessage, client: Client, facts: BootOffer): BootInformation | undefined {
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
      const bootFile = pxeArchitectures.get(client.pxeArch ?? 0)?.bootFile;
      if (bootFile === undefined) {
        return undefined;
      }
      const options = [...pxe, option(OptionCode.VendorSpecific, useBootFileName()), option(OptionCode.BootfileName, bootFile)];
      return { siaddr: facts.server, file: bootFile, options };
    }
    case 'lease':
      return noBoot;
    default:
      return undefined;
  }
}

export function option(code: number, data: Buffer | string | readonly number[]): DhcpOption {
  return { code, data: typeof data === 'string' ? Buffer.from(data, 'latin1') : Buffer.from(data) };
}

function echo(request: DhcpMessage, code: number): DhcpOption[] {
  const data = optionOf(request, code);
  return data ? [{ code, data }] : [];
}
