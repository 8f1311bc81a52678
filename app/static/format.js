// Numbers and texts as people read them. Pure: no document, no state.

/** @type {Record<string, string>} */
const GLYPHS = { " ": "·", "\n": "↵", "\t": "→", "\r": "←", "\u00a0": "°" };

/**
 * The text with its white space made visible.
 *
 * @param {string} text
 */
export function visible(text) {
  return text.replace(/[ \n\t\r\u00a0]/g, (character) => GLYPHS[character]);
}

/**
 * A probability in percent; small ones keep a digit that tells something.
 *
 * @param {number | null | undefined} value
 */
export function percent(value) {
  if (value === null || value === undefined) return "–";
  const share = value * 100;
  if (share === 0) return "0%";
  if (share < 0.01) return "<0.01%";
  if (share < 1) return `${share.toFixed(2)}%`;
  // Only certainty is written as 100%.
  if (share < 10 || (share > 99 && share < 100)) return `${Math.min(share, 99.9).toFixed(1)}%`;
  return `${Math.round(share)}%`;
}

/**
 * A number with a fixed count of digits behind the point; a dash where there is none.
 *
 * @param {number | null | undefined} value
 * @param {number} digits
 */
export function fixed(value, digits) {
  return value === null || value === undefined ? "–" : value.toFixed(digits);
}

/**
 * Seconds as milliseconds or seconds, whichever is short.
 *
 * @param {number | null | undefined} seconds
 */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 0.01) return `${(seconds * 1e3).toFixed(2)} ms`;
  if (seconds < 1) return `${Math.round(seconds * 1e3)} ms`;
  return `${seconds.toFixed(2)} s`;
}

/**
 * Bytes in decimal units, as download pages tell them.
 *
 * @param {number} count
 */
export function bytes(count) {
  if (count < 1e6) return `${Math.round(count / 1e3)} kB`;
  if (count < 1e9) return `${(count / 1e6).toFixed(1)} MB`;
  return `${(count / 1e9).toFixed(2)} GB`;
}

/**
 * What stands beside every run whose acceptance rule changes the output's distribution.
 *
 * @param {string} rule
 */
export function lossyMark(rule) {
  return rule ? `lossy (${rule})` : "";
}

/**
 * "1 token", "2 tokens".
 *
 * @param {number} count
 * @param {string} noun
 */
export function counted(count, noun) {
  return `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;
}
