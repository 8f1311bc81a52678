// One turn of the chat: what was asked, the answer, and how it ended.

import { Branches } from "./branches.js";
import { h, setText } from "./dom.js";
import { bytes, counted, lossyMark } from "./format.js";
import { Rendered } from "./rendered.js";
import { Strip } from "./strip.js";

/** @import { RunModel } from "./run_model.js" */

export class Turn {
  /**
   * @param {RunModel} run
   * @param {boolean} showRefused
   */
  constructor(run, showRefused) {
    this.run = run;
    this.strip = new Strip(run, showRefused);
    this.branches = new Branches(run);
    this.rendered = new Rendered(run);
    this._isRendered = false;
    this._lossy = h("span", { class: "lossy-badge", hidden: true });
    this._rounding = h("span", { class: "rounding-badge", hidden: true }, "rounds in 16 bits");
    this._server = h("span", { class: "host-badge", hidden: true });
    this._hostSteps = h("span", { class: "host-badge", hidden: true }, "steps by the host");
    this._draftsBy = h("span", { class: "drafts-badge", hidden: true });
    this._memory = h("span", { class: "drafts-badge", hidden: true });
    this._status = h("span", { class: "status-text" });
    this._gauge = h("span", { class: "gauge", hidden: true });
    this._footer = h("p", { class: "answer-status", role: "status" }, this._status, this._gauge);
    this.element = h(
      "article",
      { class: "turn", "data-run": run.id },
      h("div", { class: "question" }, run.turn.user),
      this.branches.element,
      h(
        "div",
        { class: "answer" },
        h("span", { class: "mode-badge" }, run.turn.mode),
        this._lossy,
        this._rounding,
        this._server,
        this._hostSteps,
        this._draftsBy,
        this._memory,
        this.strip.element,
        this.rendered.element,
        this._footer,
      ),
    );
  }

  /** @param {boolean} show */
  setShowRefused(show) {
    if (this.strip.showRefused !== show) this.strip.reset(show);
  }

  /** @param {string} mode */
  setColorMode(mode) {
    this._isRendered = mode === "markdown";
    this.rendered.show(this._isRendered);
    if (!this._isRendered) this.strip.setColorMode(mode);
  }

  /** Appends what is new. */
  update() {
    const { status, isEnded, tokens } = this.run;
    this.strip.update();
    this.branches.update();
    this.element.classList.toggle("is-running", !isEnded);
    this.element.classList.toggle("is-failed", status.phase === "failed");
    setText(this._status, statusText(this.run));
    this._status.title = this.run.cutText && `Cut off: ${this.run.cutText}`;
    this._lossy.hidden = !this.run.lossyRule;
    setText(this._lossy, lossyMark(this.run.lossyRule));
    this._rounding.hidden = !this.run.rounding;
    this._rounding.title = this.run.rounding;
    this._server.hidden = !this.run.server;
    const { serverDifferences: differences } = this.run;
    setText(this._server, `answered by ${this.run.server}${differences && ", whose totals differ"}`);
    this._server.title = differences || "What it does not tell is unknown here, and no zero";
    this._hostSteps.hidden = !this.run.hostSteps;
    this._hostSteps.title = this.run.hostSteps;
    this._draftsBy.hidden = !this.run.draftsBy;
    setText(this._draftsBy, `drafts by ${this.run.draftsBy}`);
    this._draftsBy.title = this.run.draftNote;
    const { memory } = this.run;
    this._memory.hidden = !memory;
    setText(this._memory, `looks up in ${counted(memory?.num_answers ?? 0, "earlier answer")}`);
    this._gauge.hidden = !(status.phase === "loading" && status.total > 0);
    if (!this._gauge.hidden) this._gauge.style.setProperty("--share", String(status.done / status.total));
    this.strip.element.hidden = !tokens.length || this._isRendered;
    this.rendered.update();
  }
}

/**
 * One line on what the run is doing, or how it ended.
 *
 * @param {Pick<RunModel, "status" | "isEnded" | "tokens" | "drafterFailed">} run
 */
export function statusText({ status, isEnded, tokens, drafterFailed }) {
  if (status.phase === "running") return tokens.length ? "" : status.text;
  const count = tokens.length ? ` · ${counted(tokens.length, "token")}` : "";
  const broken = drafterFailed ? ` · without drafts from step ${drafterFailed.step} on: ${drafterFailed.message}` : "";
  if (isEnded) return status.text + count + broken;
  // Stages that count bytes have totals far above those that count files or tensors.
  const size = status.total > 1e6 ? ` ${bytes(status.done)} of ${bytes(status.total)}` : "";
  return status.text + size;
}
