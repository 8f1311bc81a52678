// The times of steps as stacked bars. Pure. Only so many bars are made as can be told apart:
// where more steps are in view, neighbours share a bar that shows their mean.

export const MAX_BARS = 120;

export const PHASES = [
  { key: "draft", label: "draft" },
  { key: "verify", label: "verify" },
  { key: "settle", label: "accept + commit" },
  { key: "other", label: "other" },
];

const lasted = (event) => (event.t_end_s - event.t_start_s) * 1e3;

/** Milliseconds of one step by phase; `other` is what the phases leave of the whole. */
export function phaseTimes({ drafted, verified, accepted, committed }) {
  const draft = lasted(drafted);
  const verify = lasted(verified);
  const settle = lasted(accepted) + lasted(committed);
  const other = Math.max(0, committed.step_s * 1e3 - draft - verify - settle);
  return { draft, verify, settle, other };
}

/** Bars for the steps numbered from `low` to `high`: middle, width, first and last step, times. */
export function bars(steps, low = 1, high = steps.length, maxBars = MAX_BARS) {
  const first = Math.max(1, Math.floor(low));
  const last = Math.min(steps.length, Math.ceil(high));
  // Powers of two keep the borders of bars in place while the run grows.
  let width = 1;
  while ((last - first + 1) / width > maxBars) width *= 2;
  const result = [];
  for (let start = first - ((first - 1) % width); start <= last; start += width) {
    const end = Math.min(start + width - 1, steps.length);
    const times = { draft: 0, verify: 0, settle: 0, other: 0 };
    for (let number = start; number <= end; number += 1) {
      const own = phaseTimes(steps[number - 1]);
      for (const key in times) times[key] += own[key] / (end - start + 1);
    }
    result.push({ middle: (start + end) / 2, width: end - start + 1, start, end, times });
  }
  return result;
}
