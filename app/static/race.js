// Runs replayed side by side on one clock, with the first difference of their texts marked.

import { h, setText } from "./dom.js";
import { fixed } from "./format.js";
import { stepAt } from "./playback_clock.js";
import { RunModel } from "./run_model.js";
import { Strip } from "./strip.js";

/** @import { Comparison, Divergence, RunMessage } from "./types.d.ts" */

export class Race {
  /** @param {Comparison} comparison */
  constructor({ runs, rows, verdicts }) {
    this._lanes = runs.map((message, place) => lane(message, rows[place].run, verdicts[place].divergence));
    this._frame = 0;
    this._lengthS = Math.max(...this._lanes.map(({ endS }) => endS));
    this._button = h("button", { type: "button", class: "plain-button", onclick: () => this._start() }, "Race");
    this._clock = h("span", { class: "summary" });
    this.element = h(
      "div",
      { class: "race" },
      h("div", { class: "panel-head" }, h("h3", {}, "Side by side on one clock"), this._button, this._clock),
      h("div", { class: "lanes" }, ...this._lanes.map(({ element }) => element)),
    );
    this._show(this._lengthS);
  }

  _start() {
    cancelAnimationFrame(this._frame);
    for (const one of this._lanes) one.restart();
    const startedMs = performance.now();
    const advance = () => {
      const seconds = (performance.now() - startedMs) / 1e3;
      this._show(Math.min(seconds, this._lengthS));
      if (seconds < this._lengthS && this.element.isConnected) this._frame = requestAnimationFrame(advance);
    };
    advance();
  }

  /** @param {number} seconds */
  _show(seconds) {
    setText(this._clock, `${fixed(seconds, 1)} s`);
    for (const one of this._lanes) one.show(seconds);
  }
}

/**
 * @param {RunMessage} message
 * @param {string} label
 * @param {Divergence | null | undefined} divergence
 */
function lane({ run: id, turn, events }, label, divergence) {
  const whole = new RunModel(id);
  if (turn) whole.turn = turn;
  for (const event of events) whole.apply(event);
  const endS = whole.steps.at(-1)?.committed.t_end_s ?? 0;
  const place = h("div", { class: "lane-strip", tabindex: "0", role: "group", "aria-label": label });
  const told = h("span", { class: "summary" });
  const element = h("section", { class: "lane" }, h("header", {}, h("strong", {}, label), told), place);
  let partial = new RunModel(id);
  let strip = new Strip(partial, false);
  let next = 0;
  let marked = 0;

  function restart() {
    partial = new RunModel(id);
    strip = new Strip(partial, false);
    next = 0;
    marked = 0;
    place.replaceChildren(strip.element);
  }

  /** @param {number} seconds */
  function show(seconds) {
    const step = stepAt(whole.steps, seconds);
    // Four events make a step; what stands before the first is taken with it.
    while (next < events.length && partial.steps.length <= step) partial.apply(events[next++]);
    strip.update();
    place.scrollTop = place.scrollHeight;
    if (divergence) markFrom(divergence.position);
    const isDone = step >= whole.steps.length - 1;
    setText(told, `${partial.tokens.length} tokens${isDone ? `, done at ${fixed(endS, 2)} s` : ""}`);
    element.classList.toggle("is-done", isDone);
  }

  /**
   * The first difference is framed, and all that follows it is another text.
   *
   * @param {number} position
   */
  function markFrom(position) {
    strip.span(position)?.classList.add("parted");
    for (; marked < strip.numSpans; marked += 1) {
      if (marked > position) strip.span(marked).classList.add("astray");
    }
  }

  restart();
  return { element, endS, restart, show };
}
