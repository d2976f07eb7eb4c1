/**
 * Whether an image may bring this argument for its kernel. It is written into config files of four boot loaders, so
 * nothing that one of them reads as its own syntax; and what tells a node its server, or how it restarts, is not an
 * image's to say.
 */
export function isKernelArgument(text: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9_.,:=/@+-]{0,127}$/.test(text) && !/^(cardless\.|BOOTIF=|init=|rdinit=|root=|initrd=)/.test(text);
}
