import type { Clock } from '../domain/clock.ts';
import { anyAddress, ipv4ToNumber } from '../domain/ipv4.ts';
import { openUdpEndpoint } from '../net/udp-endpoint.ts';
import { listenWithoutAddress } from '../net/udp-listener.ts';
import { run } from '../process/run.ts';
import type { Pi3Options } from './pi3-rom.ts';

/** A real interface of this network name space as the board's network. */
export function hostNetwork(interfaceName: string, clock: Clock): Pi3Options['network'] {
  return {
    clock,
    openUdp: (address, port, onMessage) => {
      const onError = (error: Error): void => {
        throw error;
      };
      if (address !== anyAddress) {
        return openUdpEndpoint({ interfaceName, address, port, onMessage, onError });
      }
      // Before it has an address, firmware also takes what is sent to the address it will have; the kernel does not.
      const stopListening = listenWithoutAddress({ interfaceName, port, onMessage });
      const endpoint = openUdpEndpoint({ interfaceName, address, port, onMessage: () => {}, onError });
      const close = async (): Promise<void> => {
        stopListening();
        await endpoint.close();
      };
      return { port: endpoint.port, send: endpoint.send, close, [Symbol.asyncDispose]: close };
    },
    setAddress: async (address, mask) => {
      const prefix = Math.clz32(~ipv4ToNumber(mask));
      await run('ip', ['address', 'flush', 'dev', interfaceName]);
      await run('ip', ['address', 'add', `${address}/${prefix}`, 'dev', interfaceName]);
    },
  };
}
