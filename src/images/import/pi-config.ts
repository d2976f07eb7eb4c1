/** What of an imported system's own config.txt goes on being used. Pure. */

export interface PiConfig {
  /** Printable ASCII, short lines, ending in [all]. */
  readonly kept: readonly string[];
  readonly dropped: readonly string[];
  /** Kernels that it names itself. */
  readonly kernels: readonly string[];
}

/** Describe the hardware; none of them chooses what is loaded from where. */
const hardware =
  /^(dtparam|dtoverlay|gpu_mem(_\d+)?|hdmi_\w+(:\d)?|disable_\w+|camera_auto_detect|display_auto_detect|max_framebuffers|arm_boost|arm_freq(_min)?|over_voltage(_delta)?|force_turbo|usb_max_current_enable|temp_limit|initial_turbo)=[\w.,:=+-]*$/;
const modelFilter = /^\[(all|none|pi\w+\+?|cm\w+\+?|board-type=0x\w+)\]$/;
/** The server says these itself at every boot; nothing is lost. */
const ours = /^(arm_64bit|enable_uart|auto_initramfs|uart_2ndstage)=/;
/** All of config.txt must stay under 4096 bytes for old firmware of the Pi 4. */
const maxKeptBytes = 1500;
const maxLine = 78;

export function readPiConfig(text: string): PiConfig {
  const kept: string[] = [];
  const dropped: string[] = [];
  const kernels: string[] = [];
  let isForeign = false;
  let bytes = 0;
  for (const line of text.split('\n').map((raw) => raw.trim())) {
    if (line === '' || line.startsWith('#')) {
      continue;
    }
    const isFilter = /^\[.*\]$/.test(line);
    if (isFilter) {
      // What stands below a condition that we do not keep must not hold for all.
      isForeign = !modelFilter.test(line);
    }
    const kernel = /^kernel=([\w.-]+)$/.exec(line)?.[1];
    if (kernel !== undefined) {
      kernels.push(kernel);
    }
    const isKept = !isForeign && (isFilter || hardware.test(line)) && line.length <= maxLine && bytes + line.length < maxKeptBytes;
    if (isKept) {
      kept.push(line);
      bytes += line.length + 1;
    } else if (!ours.test(line) || isForeign) {
      dropped.push(line);
    }
  }
  return { kept: withoutEmptySections(kept), dropped, kernels };
}

function withoutEmptySections(lines: readonly string[]): string[] {
  const used = lines.filter((line, index) => !line.startsWith('[') || (lines[index + 1]?.startsWith('[') ?? true) === false);
  const first = used[0] === '[all]' ? used.slice(1) : used;
  return first.some((line) => line.startsWith('[')) ? [...first, '[all]'] : [...first];
}
