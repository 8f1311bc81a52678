// What the lab says of predictions, in words. Pure: no document, no state.

/** @import { LabAnswer, LabChoice, LabProgress } from "./types.d.ts" */

const PLAIN = "plain decoding";
// Speeds that differ by less are told as equal: a prediction is no closer.
const CLOSE = 0.02;

/** @param {number} value */
export const short = (value) => (value < 100 ? value.toFixed(1) : value.toFixed(0));

/** @param {LabChoice} choice */
export function choiceWords(choice) {
  return `${short(choice.tokens_per_s)} (${choice.times_plain.toFixed(2)}×)`;
}

/**
 * Which drafter is fastest, by how much, and how far the settings matter.
 *
 * @param {LabAnswer} answer
 */
export function verdict(answer) {
  const plain = `${PLAIN} (${short(answer.plain_tokens_per_s)} tokens/s)`;
  const order = [...answer.drafters].sort((a, b) => b.best.times_plain - a.best.times_plain);
  const [first, second] = order;
  if (answer.winner === PLAIN) return `Drafting does not pay here: nothing beats ${plain}.`;
  const words = `${first.mode} is fastest: ${short(first.best.tokens_per_s)} tokens/s, ${first.best.times_plain.toFixed(2)} times ${plain}.`;
  if (!second) {
    return `${words} Its settings reach from ${first.slowest.times_plain.toFixed(2)} to ${first.best.times_plain.toFixed(2)} times.`;
  }
  const behind = 1 - second.best.times_plain / first.best.times_plain;
  if (behind < CLOSE) return `${words} ${second.mode} is as fast, within ${100 * CLOSE}%.`;
  return `${words} ${second.mode} is next, ${(100 * behind).toFixed(0)}% slower.`;
}

/** @param {LabAnswer} answer */
export function exactness(answer) {
  const missing = answer.drafters.filter((each) => each.num_missing);
  const of = `${answer.num_tokens} tokens of ${answer.num_prompts} ${answer.num_prompts === 1 ? "prompt" : "prompts"}`;
  if (!missing.length) return `${of}; every step is that of a real run.`;
  const words = missing.map((each) => `${each.num_missing} nodes of ${each.mode}`).join(", ");
  return `${of}; ${words} are unknown, and those trees are told nearly.`;
}

/** @param {LabProgress} progress */
export function progressWords({ status, done, total, is_over: isOver }) {
  return isOver ? status : `${status} (${Math.min(done + 1, total)} of ${total})`;
}

/**
 * A ratio with how many it is of; a question mark where chance moves it.
 *
 * @param {number | null} ratio
 * @param {number} of
 * @param {number} few
 */
export function ratioWords(ratio, of, few) {
  return ratio === null ? "–" : `${ratio.toFixed(2)} of ${of}${of < few ? " ?" : ""}`;
}

/**
 * How many times as much, of a slider's place from -20 to 20: each ten places are a factor of four.
 *
 * @param {number} place
 */
export function timesOf(place) {
  return 4 ** (place / 10);
}

/**
 * The scale of acceptance, of a slider's place from -20 to 20: nothing is ever right at its left end, all
 * is as measured in its middle, and to the right misses become fewer by factors.
 *
 * @param {number} place
 */
export function acceptanceOf(place) {
  return place < 0 ? (20 + place) / 20 : timesOf(place);
}

/**
 * What a scale does, in words.
 *
 * @param {number} scale
 */
export function acceptanceWords(scale) {
  if (scale === 1) return "as measured";
  if (scale < 1) return `${(100 * scale).toFixed(0)}% of hits stay`;
  return `${(100 / scale).toFixed(0)}% of misses stay`;
}

// A handle stands between these, in milliseconds of a forward; a hundred places are a factor of ten.
const LEAST_MS = 0.1;

/** @param {number} ms */
export function handlePlace(ms) {
  return Math.round(100 * Math.log10(ms / LEAST_MS));
}

/** @param {number} place */
export function handleMs(place) {
  return Number((LEAST_MS * 10 ** (place / 100)).toPrecision(3));
}

/**
 * A curve as the server reads it.
 *
 * @param {number[]} rows
 * @param {number[]} ms
 */
export function curveWords(rows, ms) {
  return rows.map((count, place) => `${count}:${ms[place]}`).join(",");
}
