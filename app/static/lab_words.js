// What the lab says of a prediction, in words. Pure: no document, no state.

/** @import { LabAnswer, LabChoice } from "./types.d.ts" */

/** @param {number} value */
const short = (value) => (value < 100 ? value.toFixed(1) : value.toFixed(0));

/** @param {LabChoice} choice */
export function choiceWords(choice) {
  return `${short(choice.tokens_per_s)} tokens/s, ${choice.times_plain.toFixed(2)} times plain, τ ${choice.tau.toFixed(2)}`;
}

/** @param {LabAnswer} answer */
export function verdict(answer) {
  const { best, slowest } = answer;
  if (best.times_plain <= 1)
    return `Drafting does not pay here: plain decoding gives ${short(answer.plain_tokens_per_s)} tokens/s.`;
  return `The choice matters: from ${slowest.times_plain.toFixed(2)} to ${best.times_plain.toFixed(2)} times plain decoding (${short(answer.plain_tokens_per_s)} tokens/s).`;
}

/** @param {LabAnswer} answer */
export function exactness(answer) {
  if (!answer.num_missing) return "Every step is that of a real run.";
  return `${answer.num_missing} nodes are unknown: those trees are told nearly.`;
}

/**
 * How many times as long, of a slider's place from -20 to 20: each ten places are a factor of four.
 *
 * @param {number} place
 */
export function timesOf(place) {
  return 4 ** (place / 10);
}
