// One answer as a strip of tokens. It only ever appends: a token costs the same in any answer.

import { h } from "./dom.js";
import { visible } from "./format.js";
import { heatOf } from "./heat.js";

/** @import { Step, Token, TokenSpan } from "./page_types.d.ts" */
/** @import { RunModel } from "./run_model.js" */

// More refused tokens than this in one step are told as a number; the tree shows them all.
export const MAX_REFUSED_SHOWN = 10;

/**
 * What stands between the accepted tokens of a step and the target's own: refused branches.
 *
 * @param {Pick<Step, "drafted" | "states">} step
 */
export function refusedBranches({ drafted, states }) {
  /** @type {number[][]} */
  const branches = [];
  let last = -1;
  states.forEach((state, node) => {
    if (state !== "rejected" && state !== "untested") return;
    if (last < 0 || drafted.parents[node] !== last) branches.push([]);
    branches.at(-1)?.push(node);
    last = node;
  });
  return branches;
}

export class Strip {
  /**
   * @param {RunModel} run
   * @param {boolean} showRefused
   */
  constructor(run, showRefused) {
    this.run = run;
    this.element = h("div", { class: "strip", role: "group", "aria-label": "Answer" });
    /** @type {TokenSpan[]} */
    this._spans = [];
    /** @type {TokenSpan[]} */
    this._selected = [];
    this._numSteps = 0;
    /** The block that the next token goes to. @type {HTMLElement | null} */
    this._line = null;
    this._tail = false;
    this._colorMode = "source";
    this.reset(showRefused);
  }

  /**
   * Draws anew, with or without the refused tokens.
   *
   * @param {boolean} showRefused
   */
  reset(showRefused) {
    this.showRefused = showRefused;
    this.element.replaceChildren();
    this._spans = [];
    this._numSteps = 0;
    this._line = null;
    this._tail = false;
    this.update();
  }

  /** Appends the steps that came since. */
  update() {
    const { steps, tokens, tailText, isEnded } = this.run;
    for (let next = tokens[this._spans.length]; next && next.step < 0; next = tokens[this._spans.length]) {
      this._appendToken(next);
    }
    for (; this._numSteps < steps.length; this._numSteps += 1) this._append(steps[this._numSteps]);
    if (isEnded && tailText && !this._tail) {
      this._tail = true;
      this._lineForNext().append(tailText);
    }
  }

  /** @param {Step} step */
  _append(step) {
    const end = step.firstToken + step.committed.token_ids.length;
    for (let index = step.firstToken; index < end; index += 1) {
      const token = this.run.tokens[index];
      if (token.node < 0) this._appendRefused(step);
      this._appendToken(token);
    }
    if (this.run.tokens[end - 1]?.node >= 0) this._appendRefused(step);
  }

  /** @param {Token} token */
  _appendToken(token) {
    /** @type {TokenSpan} */
    const span = document.createElement("span");
    span.className = `token ${token.source}`;
    // A space in front stays outside, so that no empty piece of a box hangs at a line's end.
    const word = /^ \S/.test(token.text) ? token.text.slice(1) : token.text;
    span.textContent = word;
    if (!token.text) span.dataset.glyph = visible(this.run.textOf(token.id));
    else if (/^\n+$/.test(token.text)) span.dataset.glyph = visible(token.text);
    span.tabIndex = token.index === 0 ? 0 : -1;
    span.tokenIndex = token.index;
    this._paint(span, token);
    this._spans.push(span);
    if (word === token.text) this._lineForNext().append(span);
    else this._lineForNext().append(" ", span);
    // Paragraphs are blocks of their own, so that only the last one is laid out again.
    if (token.text.endsWith("\n")) this._line = null;
  }

  /**
   * Colours by source, or by a measure of each token; forms stay.
   *
   * @param {string} mode
   */
  setColorMode(mode) {
    if (mode === this._colorMode) return;
    this._colorMode = mode;
    this.element.classList.toggle("is-heat", mode !== "source");
    for (const [index, span] of this._spans.entries()) this._paint(span, this.run.tokens[index]);
  }

  /**
   * @param {TokenSpan} span
   * @param {Token} token
   */
  _paint(span, token) {
    const heat = heatOf(this.run, token, this._colorMode);
    if (heat === null) span.style.removeProperty("--heat");
    else span.style.setProperty("--heat", heat.toFixed(3));
  }

  /** @param {Step} step */
  _appendRefused(step) {
    if (!this.showRefused) return;
    let room = MAX_REFUSED_SHOWN;
    let hidden = 0;
    const group = h("span", { class: "refused" });
    for (const branch of refusedBranches(step)) {
      const shown = branch.slice(0, room);
      room -= shown.length;
      hidden += branch.length - shown.length;
      if (shown.length) group.append(h("span", { class: "branch" }, ...this._ghosts(step, shown)), " ");
    }
    if (hidden) group.append(h("span", { class: "more" }, `+${hidden}`));
    if (group.firstChild) this._lineForNext().append(group);
  }

  /**
   * @param {Step} step
   * @param {number[]} nodes
   */
  _ghosts(step, nodes) {
    return nodes.flatMap((node) => {
      const text = this.run.textOf(step.drafted.token_ids[node]);
      const word = text.trim() ? text.trim().replace(/[\n\r\t]/g, visible) : visible(text);
      /** @type {TokenSpan} */
      const span = h("span", { class: `token ${step.states[node]}` }, word);
      span.stepIndex = step.index;
      span.node = node;
      return [" ", span];
    });
  }

  _lineForNext() {
    if (!this._line) {
      this._line = h("div", { class: "line" });
      this.element.append(this._line);
    }
    return this._line;
  }

  /**
   * Marks a step's tokens and one of them; null marks nothing.
   *
   * @param {Step | null} step
   * @param {number | null} tokenIndex
   */
  mark(step, tokenIndex) {
    for (const span of this._selected) span.classList.remove("in-step", "selected");
    this._selected = [];
    if (!step) return;
    const count = step.committed.token_ids.length;
    this._selected = this._spans.slice(step.firstToken, step.firstToken + count);
    for (const span of this._selected) span.classList.add("in-step");
    if (tokenIndex !== null) this._spans[tokenIndex]?.classList.add("selected");
  }

  /**
   * Scrolls as little as shows the marked tokens.
   *
   * @param {Element} scroller
   */
  reveal(scroller) {
    const span = this._selected[0];
    if (!span) return;
    const [inner, outer] = [span.getBoundingClientRect(), scroller.getBoundingClientRect()];
    if (inner.top < outer.top + 8) scroller.scrollTop += inner.top - outer.top - 40;
    else if (inner.bottom > outer.bottom - 8) scroller.scrollTop += inner.bottom - outer.bottom + 40;
  }

  /**
   * The span of a token, to move the focus to.
   *
   * @param {number} tokenIndex
   */
  span(tokenIndex) {
    return this._spans[tokenIndex] ?? null;
  }

  get numSpans() {
    return this._spans.length;
  }
}
