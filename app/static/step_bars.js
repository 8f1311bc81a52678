// The time view: what every step took and gave. Zoom and place stay while the run grows.

import { bars, draw, frame, PHASES, tops, totalOf } from "./bars.js";
import { h, setText } from "./dom.js";
import { counted, fixed } from "./format.js";
import { store } from "./page.js";
import { splitter } from "./split.js";

/** @import { Bar, PhaseTimes, Step, ViewContext } from "./page_types.d.ts" */
/** @import { RunModel } from "./run_model.js" */

// While a run streams, drawing more often shows nothing more.
const LIVE_PAUSE_MS = 100;
const DRAG_PX = 4;
const LEAST_SHOWN = 20;
const NARROWEST = 4;
const COLORS = ["text", "quiet", "line", "panel", "recovered"];

/** Which steps are shown. Untouched it is the whole run as it grows; once zoomed or moved it stays where it is. */
export class StepRange {
  constructor() {
    /** @type {[number, number] | null} */
    this._own = null;
  }

  get isOwn() {
    return this._own !== null;
  }

  reset() {
    this._own = null;
  }

  /**
   * Borders in step numbers: a step `n` takes the place from n - 0.5 to n + 0.5.
   *
   * @param {number} numSteps
   * @returns {[number, number]}
   */
  of(numSteps) {
    return this._own ?? [0.5, Math.max(numSteps, LEAST_SHOWN) + 0.5];
  }

  /**
   * Zooms by a factor around a place; whole again where all is in view.
   *
   * @param {number} numSteps
   * @param {number} factor
   * @param {number} around
   */
  zoom(numSteps, factor, around) {
    const [low, high] = this.of(numSteps);
    const wide = Math.max(numSteps, LEAST_SHOWN);
    const width = Math.max(NARROWEST, (high - low) * factor);
    if (width >= wide) return this.reset();
    const share = (around - low) / (high - low);
    return this._place(around - share * width, width, wide);
  }

  /**
   * Moves by so many steps.
   *
   * @param {number} numSteps
   * @param {number} steps
   */
  move(numSteps, steps) {
    if (!this._own) return;
    const [low, high] = this._own;
    this._place(low + steps, high - low, Math.max(numSteps, LEAST_SHOWN));
  }

  /**
   * Moves as little as shows a step.
   *
   * @param {number} number
   */
  reveal(number) {
    if (!this._own) return;
    const [low, high] = this._own;
    if (number - 0.5 < low) this._own = [number - 0.5, number - 0.5 + high - low];
    else if (number + 0.5 > high) this._own = [number + 0.5 - (high - low), number + 0.5];
  }

  /**
   * @param {number} low
   * @param {number} width
   * @param {number} wide
   */
  _place(low, width, wide) {
    const start = Math.min(Math.max(0.5, low), wide + 0.5 - width);
    this._own = [start, start + width];
  }
}

/** @param {ViewContext} context */
export function mount({ element }) {
  const canvas = h("canvas", { class: "bars", role: "img" });
  const told = h("p", { class: "told" });
  const reset = h("button", { type: "button", class: "link", hidden: true }, "whole run");
  const border = splitter({
    name: "bars-height",
    label: "Border between times and tree",
    axis: "y",
    sign: 1,
    least: 48,
    most: () => window.innerHeight / 2,
    size: () => canvas.clientHeight,
  });
  element.append(
    h("div", { class: "panel-head" }, h("h3", {}, "Time of each step"), key(), reset),
    canvas,
    told,
    border,
  );
  const range = new StepRange();
  /** @type {ReturnType<typeof frame> | null} */
  let place = null;
  /** @type {Bar[]} */
  let shown = [];
  /** @type {Bar | null} */
  let hovered = null;
  let timer = 0;
  /** @type {string | null} */
  let runId = null;

  function redraw() {
    clearTimeout(timer);
    timer = 0;
    const { current: run } = store;
    if (run?.id !== runId) range.reset();
    runId = run?.id ?? null;
    const steps = run?.steps ?? [];
    const { clientWidth: width, clientHeight: height } = canvas;
    const context = canvas.getContext("2d");
    if (!width || !context) return;
    const ratio = window.devicePixelRatio || 1;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    context.scale(ratio, ratio);
    const borders = range.of(steps.length);
    shown = bars(steps, ...borders);
    const top = tops(shown, run?.plainMs);
    place = frame(width, height, borders, top.ms, top.tokens);
    const number = store.isPinned ? store.step?.number : undefined;
    draw(context, place, shown, {
      plainMs: run?.plainMs,
      selected: number ? { start: number, end: number } : null,
      hovered,
      colors: colorsOf(element),
    });
    reset.hidden = !range.isOwn;
    setText(told, tell(run, hovered ?? (store.isPinned ? store.step : null)));
    canvas.setAttribute("aria-label", `Time of ${counted(steps.length, "step")}`);
  }

  const redrawSoon = () => (timer ||= setTimeout(redraw, LIVE_PAUSE_MS));

  store.subscribe(({ chat, selection, runs }) => {
    if (selection && store.isPinned && store.step) range.reveal(store.step.number);
    if (selection || chat) redraw();
    else if (store.current && runs.has(store.current.id)) redrawSoon();
  });
  new ResizeObserver(redraw).observe(canvas);
  window.addEventListener("themechange", redraw);
  const showWhole = () => {
    range.reset();
    redraw();
  };
  reset.addEventListener("click", showWhole);

  const numSteps = () => store.current?.steps.length ?? 0;
  const numberAt = (/** @type {MouseEvent} */ event) =>
    place?.number(event.clientX - canvas.getBoundingClientRect().left) ?? 0;
  const barAt = (/** @type {MouseEvent} */ event) => {
    const number = Math.round(numberAt(event));
    return shown.find(({ start, end }) => start <= number && number <= end) ?? null;
  };
  canvas.addEventListener(
    "wheel",
    (event) => {
      if (!numSteps()) return;
      event.preventDefault();
      range.zoom(numSteps(), Math.exp(event.deltaY * 0.002), numberAt(event));
      redraw();
    },
    { passive: false },
  );
  canvas.addEventListener("dblclick", showWhole);
  /** @type {{ x: number, from: number, isMoved: boolean } | null} */
  let grabbed = null;
  canvas.addEventListener("pointerdown", (event) => {
    grabbed = { x: event.clientX, from: event.clientX, isMoved: false };
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (grabbed && place) {
      grabbed.isMoved ||= Math.abs(event.clientX - grabbed.x) > DRAG_PX;
      range.move(numSteps(), place.number(grabbed.from) - place.number(event.clientX));
      grabbed.from = event.clientX;
      redraw();
    } else if (barAt(event) !== hovered) {
      hovered = barAt(event);
      redraw();
    }
  });
  canvas.addEventListener("pointerup", (event) => {
    const bar = grabbed && !grabbed.isMoved ? barAt(event) : null;
    grabbed = null;
    if (bar && runId) store.select(runId, bar.start - 1);
  });
  canvas.addEventListener("pointerleave", () => {
    hovered = null;
    redraw();
  });
}

function key() {
  return h(
    "span",
    { class: "phase-key" },
    ...PHASES.map(({ key, label }) => {
      const entry = h("span", { class: `phase ${key}` }, label);
      // Of servers alone.
      if (key === "untold") store.subscribe(() => (entry.hidden = !store.current?.server));
      return entry;
    }),
    h("span", { class: "phase tokens" }, "tokens"),
  );
}

/**
 * @param {Element} element
 * @returns {Record<string, string>}
 */
function colorsOf(element) {
  const style = getComputedStyle(element);
  const read = (/** @type {string} */ name) => style.getPropertyValue(`--${name}`).trim();
  return {
    ...Object.fromEntries(COLORS.map((name) => [name, read(name)])),
    ...Object.fromEntries(PHASES.map(({ key }) => [key, read(`phase-${key}`)])),
    font: style.fontFamily,
  };
}

/**
 * One line on a bar or step, else on the whole run.
 *
 * @param {RunModel | null | undefined} run
 * @param {Bar | Step | null} subject
 */
export function tell(run, subject) {
  if (!run?.steps.length) return "Milliseconds of each step, stacked by phase, and its tokens";
  if (!subject) return tellRun(run);
  const { start, end, tokens, times } = "start" in subject ? subject : barOf(subject);
  const isOne = start === end;
  const name = isOne ? `step ${start}` : `mean of steps ${start}–${end}`;
  const told = PHASES.filter(({ key }) => (key === "untold") === times.untold > 0);
  const parts = told.map(({ key, label }) => `${label} ${fixed(times[key], 1)}`).join(", ");
  return `${name}: ${parts} ms for ${fixed(tokens, isOne ? 0 : 1)} tokens${gain(run, times, tokens)}`;
}

/**
 * @param {Step} step
 * @returns {Bar}
 */
function barOf({ number, committed, times }) {
  return { start: number, end: number, tokens: committed.token_ids.length, times };
}

/**
 * What the same tokens cost one by one; a plain run has nothing to compare.
 *
 * @param {RunModel} run
 * @param {PhaseTimes} times
 * @param {number} tokens
 */
function gain(run, times, tokens) {
  if (!run.plainMs || run.turn.mode === "naive") return "";
  return `, ${fixed((tokens * run.plainMs) / totalOf(times), 1)}× plain decoding`;
}

/** @param {RunModel} run */
function tellRun({ prefilled, plainMs }) {
  const prompt = prefilled ? (prefilled.t_end_s - prefilled.t_start_s) * 1e3 : 0;
  const plain = plainMs ? `; dashed: one plain step, ${fixed(plainMs, 1)} ms` : "";
  return `Before the first step, ${fixed(prompt, 0)} ms to read the prompt${plain}`;
}
