/** What a node that runs tells about itself. */
export interface Hardware {
  /** As many as its kernel uses. */
  readonly cores: number;
  /** What its kernel has to give: less than what is soldered on. */
  readonly memoryMiB: number;
}

/** `cores=4 memory=3884512`, in kB as /proc/meminfo has it. Undefined for anything else: agents before it said nothing. */
export function readHardware(text: string): Hardware | undefined {
  const [, cores = '', memory = ''] = /^cores=(\d{1,4}) memory=(\d{1,12})\s*$/.exec(text) ?? [];
  const hardware = { cores: Number(cores), memoryMiB: Math.floor(Number(memory) / 1024) };
  return hardware.cores > 0 && hardware.memoryMiB > 0 ? hardware : undefined;
}
