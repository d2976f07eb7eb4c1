/** The files that the simulator leaves for a virtual machine. */
export const bootFileNames = { kernel: 'kernel', initramfs: 'initramfs', deviceTree: 'board.dtb', commandLine: 'cmdline' } as const;
