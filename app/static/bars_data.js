// The times of steps as stacked bars. Pure. Only so many bars are made as can be told apart:
// where more steps are in view, neighbours share a bar that shows their mean.

/** @import { Bar, PhaseTimes, Step } from "./page_types.d.ts" */

export const MAX_BARS = 160;

/** @type {{ key: keyof PhaseTimes, label: string }[]} */
export const PHASES = [
  { key: "draft", label: "draft" },
  { key: "verify", label: "verify" },
  { key: "settle", label: "accept + commit" },
  { key: "other", label: "other" },
];

/** @param {PhaseTimes} times */
export const totalOf = (times) => times.draft + times.verify + times.settle + times.other;

/**
 * Bars for the steps numbered from `low` to `high`: first and last step, mean times and tokens.
 *
 * @param {Step[]} steps
 * @returns {Bar[]}
 */
export function bars(steps, low = 1, high = steps.length, maxBars = MAX_BARS) {
  const first = Math.max(1, Math.floor(low));
  const last = Math.min(steps.length, Math.ceil(high));
  // Powers of two keep the borders of bars in place while the run grows.
  let width = 1;
  while ((last - first + 1) / width > maxBars) width *= 2;
  const result = [];
  for (let start = first - ((first - 1) % width); start <= last; start += width) {
    const end = Math.min(start + width - 1, steps.length);
    const share = 1 / (end - start + 1);
    const bar = { start, end, tokens: 0, times: { draft: 0, verify: 0, settle: 0, other: 0 } };
    for (let number = start; number <= end; number += 1) {
      const { times, committed } = steps[number - 1];
      bar.tokens += committed.token_ids.length * share;
      for (const { key } of PHASES) bar.times[key] += times[key] * share;
    }
    result.push(bar);
  }
  return result;
}

/**
 * About `count` round numbers from 0 on that reach to `top`.
 *
 * @param {number} top
 */
export function ticks(top, count = 4) {
  const rough = Math.max(top, 1e-6) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const size = ([1, 2, 5].find((factor) => factor * power >= rough) ?? 10) * power;
  return Array.from({ length: Math.floor(top / size) + 1 }, (_, place) => place * size);
}
