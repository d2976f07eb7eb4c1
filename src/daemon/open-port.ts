/** Opens a port, and tells the operator who has it when it is taken. */
import { systemCode, UserError } from '../domain/errors.ts';
import type { Ipv4 } from '../domain/ipv4.ts';
import { portOwner } from '../net/port-owner.ts';

export async function orNamePortOwner<T>(protocol: 'udp' | 'tcp', port: number, address: Ipv4, open: () => Promise<T>): Promise<T> {
  try {
    return await open();
  } catch (error) {
    switch (systemCode(error)) {
      case 'EADDRINUSE':
        throw portTaken(protocol.toUpperCase(), port, await portOwner(protocol, port, address));
      case 'EACCES':
      case 'EPERM':
        throw new UserError(
          'not-permitted',
          `Port ${port} and binding to an interface need the privileges CAP_NET_BIND_SERVICE and CAP_NET_RAW`,
          {
            hint: 'Run it with sudo, or as the systemd service',
          },
        );
      default:
        throw error;
    }
  }
}

export async function assertPortFree(port: number, address: Ipv4): Promise<void> {
  const owner = await portOwner('tcp', port, address);
  if (owner !== undefined) {
    throw portTaken('TCP', port, owner);
  }
}

function portTaken(protocol: string, port: number, owner: string | undefined): UserError {
  return new UserError('in-use', `${protocol} port ${port} is taken by ${owner ?? 'another program'}`, {
    hint: 'Stop that program, or serve another interface or port',
  });
}
