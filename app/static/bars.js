// The times of steps as stacked bars, with the tokens of each: what the bars are, and how they are drawn.
// Only so many are made as can be told apart: where more steps are in view, neighbours share a bar that
// shows their mean.

/** @import { Bar, PhaseTimes, Step } from "./page_types.d.ts" */

/** @typedef {ReturnType<typeof frame>} Place */
/** @typedef {{ start: number, end: number }} Span */
/** @typedef {Record<string, string>} Colors */

export const MAX_BARS = 160;
const MARGIN = { left: 38, right: 26, top: 10, bottom: 20 };

/** @type {{ key: keyof PhaseTimes, label: string }[]} */
export const PHASES = [
  { key: "draft", label: "draft" },
  { key: "verify", label: "verify" },
  { key: "settle", label: "accept + commit" },
  { key: "other", label: "other" },
  { key: "untold", label: "phases not told" },
];

/** @param {PhaseTimes} times */
export const totalOf = (times) => times.draft + times.verify + times.settle + times.other + times.untold;

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
    const bar = { start, end, tokens: 0, times: { draft: 0, verify: 0, settle: 0, other: 0, untold: 0 } };
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

/**
 * Where things stand in a canvas of a size, for a range of steps.
 *
 * @param {number} width
 * @param {number} height
 * @param {[number, number]} borders
 * @param {number} topMs
 * @param {number} topTokens
 */
export function frame(width, height, [low, high], topMs, topTokens) {
  const left = MARGIN.left;
  const right = width - MARGIN.right;
  const bottom = height - MARGIN.bottom;
  const scale = (right - left) / (high - low);
  return {
    left,
    right,
    bottom,
    top: MARGIN.top,
    topMs,
    x: (/** @type {number} */ number) => left + (number - low) * scale,
    number: (/** @type {number} */ x) => low + (x - left) / scale,
    y: (/** @type {number} */ ms) => bottom - (ms / topMs) * (bottom - MARGIN.top),
    yTokens: (/** @type {number} */ tokens) => bottom - (tokens / topTokens) * (bottom - MARGIN.top),
    topTokens,
  };
}

/**
 * The highest bar and the most tokens, with room above.
 *
 * @param {Bar[]} shown
 * @param {number | null | undefined} plainMs
 */
export function tops(shown, plainMs) {
  const highest = Math.max(plainMs ?? 0, ...shown.map(({ times }) => totalOf(times)));
  return {
    ms: highest > 0 ? highest * 1.08 : 10,
    tokens: Math.max(4, ...shown.map(({ tokens }) => tokens)) * 1.08,
  };
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Place} place
 * @param {Bar[]} shown
 * @param {{ plainMs?: number | null, selected: Span | null, hovered: Span | null, colors: Colors }} marks
 */
export function draw(context, place, shown, { plainMs, selected, hovered, colors }) {
  axes(context, place, colors);
  context.save();
  context.beginPath();
  context.rect(place.left, 0, place.right - place.left, place.bottom);
  context.clip();
  for (const bar of shown) stack(context, place, bar, colors);
  tokenMarks(context, place, shown, colors);
  if (plainMs) plainLine(context, place, plainMs, colors);
  if (hovered) outline(context, place, hovered, colors.quiet, 1);
  if (selected) outline(context, place, selected, colors.text, 1.5);
  context.restore();
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Place} place
 * @param {Colors} colors
 */
function axes(context, place, colors) {
  context.font = `11px ${colors.font}`;
  context.fillStyle = colors.quiet;
  context.strokeStyle = colors.line;
  context.lineWidth = 1;
  context.textBaseline = "middle";
  for (const ms of ticks(place.topMs, 4)) {
    const y = Math.round(place.y(ms)) + 0.5;
    context.beginPath();
    context.moveTo(place.left, y);
    context.lineTo(place.right, y);
    context.stroke();
    context.textAlign = "right";
    context.fillText(String(+ms.toPrecision(3)), place.left - 6, y);
  }
  context.textAlign = "left";
  for (const tokens of ticks(place.topTokens, 3)) {
    if (Number.isInteger(tokens)) context.fillText(String(tokens), place.right + 6, place.yTokens(tokens));
  }
  context.textAlign = "center";
  const low = place.number(place.left);
  const high = place.number(place.right);
  const every = Math.max(1, ticks(high - low, 6)[1] ?? 1);
  for (let number = Math.ceil(low / every) * every; number <= high; number += every) {
    if (number >= 1) context.fillText(String(number), place.x(number), place.bottom + 11);
  }
}

/**
 * @param {Place} place
 * @param {Span} span
 */
function edges(place, { start, end }) {
  const left = place.x(start - 0.5);
  const right = place.x(end + 0.5);
  const gap = Math.min(1.5, (right - left) * 0.15);
  return { left: left + gap / 2, width: Math.max(0.6, right - left - gap) };
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Place} place
 * @param {Bar} bar
 * @param {Colors} colors
 */
function stack(context, place, bar, colors) {
  const { left, width } = edges(place, bar);
  let ms = 0;
  for (const { key } of PHASES) {
    const top = place.y(ms + bar.times[key]);
    context.fillStyle = colors[key];
    context.fillRect(left, top, width, place.y(ms) - top);
    ms += bar.times[key];
  }
}

/**
 * A light rim keeps the marks readable on every phase.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {Place} place
 * @param {Bar[]} shown
 * @param {Colors} colors
 */
function tokenMarks(context, place, shown, colors) {
  const half = Math.min(5, Math.max(1, edges(place, shown[0] ?? { start: 1, end: 1 }).width / 2));
  for (const bar of shown) {
    const middle = place.x((bar.start + bar.end) / 2);
    const y = place.yTokens(bar.tokens);
    context.fillStyle = colors.panel;
    context.fillRect(middle - half - 1, y - 2.5, 2 * half + 2, 5);
    context.fillStyle = colors.text;
    context.fillRect(middle - half, y - 1.5, 2 * half, 3);
  }
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Place} place
 * @param {number} plainMs
 * @param {Colors} colors
 */
function plainLine(context, place, plainMs, colors) {
  const y = place.y(plainMs);
  context.strokeStyle = colors.recovered;
  context.lineWidth = 1.5;
  context.setLineDash([5, 4]);
  context.beginPath();
  context.moveTo(place.left, y);
  context.lineTo(place.right, y);
  context.stroke();
  context.setLineDash([]);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {Place} place
 * @param {Span} bar
 * @param {string} color
 * @param {number} width
 */
function outline(context, place, bar, color, width) {
  const { left, width: wide } = edges(place, bar);
  context.strokeStyle = color;
  context.lineWidth = width;
  context.strokeRect(left - 1.5, place.top - 6, wide + 3, place.bottom - place.top + 5);
}
