/** Reported while a job runs; `fraction` goes from 0 to 1 and never back. */
export type OnProgress = (progress: { readonly phase: string; readonly fraction: number }) => void;

/** The part of a progress bar between two fractions, as a bar of its own. */
export function section(onProgress: OnProgress, from: number, to: number): OnProgress {
  return ({ phase, fraction }) => onProgress({ phase, fraction: from + (to - from) * Math.min(1, fraction) });
}
