// A batch: a row for each prompt, which grows as its answer does, and what all of them reach together.

import { batchSummary, rowSummary } from "./batch_summary.js";
import { h, onValue, setText, showNotice } from "./dom.js";
import { promise } from "./empty_state.js";
import { frame } from "./frame.js";
import { Memory } from "./memory.js";
import { Store } from "./store.js";
import { Strip } from "./strip.js";

/** @import { ViewContext } from "./page_types.d.ts" */
/** @import { RunModel } from "./run_model.js" */
/** @import { BatchMessage, Notice } from "./types.d.ts" */

const LEAD = "Give prompts, a line each, and press Run batch: those side by side share every forward. You will see";
const PROMISES = [
  "a row for each prompt, whose answer grows beside the others,",
  "where every token came from, as the playground shows it,",
  "tokens and τ of each row, and how it ended,",
  "and the tokens a second that all rows reach together.",
];

/** @param {ViewContext} context */
export function mount({ element, props, watch, trigger, server }) {
  const notice = h("p", { class: "notice", role: "alert", hidden: true });
  const total = h("p", { class: "batch-total", role: "status" });
  const list = h("div", { class: "batch-rows" });
  const promised = promise("Many prompts at once", LEAD, PROMISES);
  element.append(notice, total, promised, list);
  /** @type {Pick<BatchMessage, "ids" | "seconds">} */
  let shown = { ids: [], seconds: 0 };
  let store = new Store();
  /** @type {Map<string, Row>} */
  let rows = new Map();

  /** @param {string[]} ids */
  function begin(ids) {
    store = new Store();
    store.ask = (request) => server.since(request);
    rows = new Map();
    list.replaceChildren();
    promised.hidden = true;
    const own = store;
    store.subscribe(({ runs }) => own === store && draw(runs, ids));
  }

  /**
   * @param {Set<string>} changed
   * @param {string[]} ids
   */
  function draw(changed, ids) {
    for (const id of ids) {
      const run = store.runs.get(id);
      if (!run) continue;
      if (!rows.has(id)) {
        rows.set(id, new Row(run, ids.indexOf(id) + 1));
        list.append(...ids.flatMap((one) => rows.get(one)?.element ?? []));
      }
      if (changed.has(id)) rows.get(id)?.update();
    }
    const runs = [...store.runs.values()];
    const isOver = runs.length === ids.length && runs.every((run) => run.isEnded);
    frame().classList.toggle("is-batching", ids.length > 0 && !isOver);
    setText(total, batchSummary(runs, ids.length, shown.seconds));
  }

  const memory = new Memory("batch", () => shown.ids);
  const runs = memory.recall();
  if (runs.length) trigger("apply", { runs });

  onValue({ props, watch }, (json) => {
    /** @type {BatchMessage | Notice} */
    const message = JSON.parse(json);
    if (showNotice(notice, message)) return;
    if (message.ids.join() !== shown.ids.join()) begin(message.ids);
    shown = message;
    memory.keep();
    for (const row of message.rows) store.take(row);
  });
}

class Row {
  /**
   * @param {RunModel} run
   * @param {number} number
   */
  constructor(run, number) {
    this.run = run;
    this._told = h("span", { class: "summary" });
    this._strip = new Strip(run, false);
    const answer = { class: "lane-strip", tabindex: "0", role: "group", "aria-label": `Answer ${number}` };
    this._place = h("div", answer, this._strip.element);
    const question = h("strong", { title: run.turn.user }, run.turn.user);
    this.element = h("section", { class: "lane" }, h("header", {}, question, this._told), this._place);
    this.update();
  }

  update() {
    this._strip.update();
    this._place.scrollTop = this._place.scrollHeight;
    this.element.classList.toggle("is-done", this.run.isEnded);
    this.element.classList.toggle("is-failed", this.run.status.phase === "failed");
    setText(this._told, rowSummary(this.run));
  }
}
