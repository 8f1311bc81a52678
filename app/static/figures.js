// The numbers of the run, as the engine counted them.

import { h, setText } from "./dom.js";
import { counted, duration, fixed, percent } from "./format.js";
import { store } from "./page.js";

/** @import { ViewContext } from "./page_types.d.ts" */
/** @import { RunModel } from "./run_model.js" */
/** @import { Prefilled } from "./types.d.ts" */

/** @typedef {Pick<RunModel, "stats" | "firstTokenS" | "prefilled">} Measured */

/** @type {{ name: string, label: string, help: string, value: (run: Measured) => string, note: (run: Measured) => string }[]} */
const FIGURES = [
  {
    name: "tokens-per-s",
    label: "Tokens per second",
    help: "Emitted tokens over the time of the steps; reading the prompt is apart",
    value: ({ stats }) => fixed(stats?.tokens_per_s, 1),
    note: ({ stats }) => (stats ? counted(stats.num_tokens, "token") : ""),
  },
  {
    name: "tau",
    label: "Tokens per step, τ",
    help: "Mean acceptance length: accepted draft tokens and the target's own, a step; steps without a draft count as well",
    value: ({ stats }) => fixed(stats?.acceptance_length, 2),
    note: ({ stats }) => (stats ? counted(stats.num_steps, "step") : ""),
  },
  {
    name: "acceptance",
    label: "Acceptance",
    help: "Accepted draft tokens over those that the target tested",
    value: ({ stats }) => percent(stats?.acceptance_rate),
    note: ({ stats }) => (stats ? `of ${stats.num_tested.toLocaleString("en")} tested` : ""),
  },
  {
    name: "first-token",
    label: "First token",
    help: "From the start of the run, the prompt included",
    value: (run) => duration(run.firstTokenS),
    note: ({ prefilled }) => (prefilled ? prefillNote(prefilled) : ""),
  },
];

/** @param {Prefilled} prefilled */
function prefillNote({ num_tokens: computed, num_reused: reused }) {
  return `prompt ${computed + reused + 1}${reused ? `, ${reused} reused` : ""}`;
}

/** @param {ViewContext} context */
export function mount({ element }) {
  const cells = FIGURES.map((figure) => ({
    ...figure,
    valueNode: h("dd", { class: "figure-value", "data-figure": figure.name }, "–"),
    noteNode: h("dd", { class: "figure-note" }),
  }));
  element.append(
    h(
      "dl",
      { class: "figures" },
      ...cells.map(({ label, help, valueNode, noteNode }) =>
        h("div", { class: "figure", title: help }, h("dt", {}, label), valueNode, noteNode),
      ),
    ),
  );
  /** @type {Measured} */
  const nothing = { stats: null, firstTokenS: null, prefilled: null };
  store.subscribe(() => {
    const run = store.current ?? nothing;
    for (const { value, note, valueNode, noteNode } of cells) {
      setText(valueNode, value(run));
      setText(noteNode, note(run));
    }
  });
}
