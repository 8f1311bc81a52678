// The numbers of the run, as the engine counted them.

import { h, setText } from "./dom.js";
import { counted, duration, fixed, percent } from "./format.js";
import { store } from "./page.js";

/** @import { ViewContext } from "./page_types.d.ts" */
/** @import { RunModel } from "./run_model.js" */
/** @import { Prefilled, Stats } from "./types.d.ts" */

/** @typedef {Pick<RunModel, "stats" | "pauses" | "firstTokenS" | "prefilled">} Measured */

/** @type {Record<string, string>} */
const ORIGINS = {
  told: "as the server tells",
  derived: "derived: each chunk a step, as its histogram says",
  "at least": "at least: steps may have come together",
  "at most": "at most: steps may have come together",
  unknown: "unknown: the server does not tell",
};

/**
 * Where a figure comes from that was not measured; empty for one that was.
 *
 * @param {Stats | null} stats
 * @param {string} name
 */
export function originOf(stats, name) {
  return ORIGINS[stats?.origins?.[name] ?? ""] ?? "";
}

/** @type {{ name: string, label: string, help: string, value: (run: Measured) => string, note: (run: Measured) => string }[]} */
const FIGURES = [
  {
    name: "tokens-per-s",
    label: "Tokens per second",
    help: "Emitted tokens over the time of the steps; reading the prompt is apart",
    value: ({ stats }) => fixed(stats?.tokens_per_s, 1),
    note: ({ stats }) => (stats ? joined(counted(stats.num_tokens, "token"), originOf(stats, "num_tokens")) : ""),
  },
  {
    name: "tau",
    label: "Tokens per step, τ",
    help: "Mean acceptance length: accepted draft tokens and the target's own, a step; steps without a draft count as well",
    value: ({ stats }) => bound(stats) + fixed(stats?.acceptance_length, 2),
    note: ({ stats }) => joined(stats?.num_steps && counted(stats.num_steps, "step"), originOf(stats, "num_steps")),
  },
  {
    name: "acceptance",
    label: "Acceptance",
    help: "Accepted draft tokens over those that the target tested",
    value: ({ stats }) => percent(stats?.acceptance_rate),
    note: ({ stats }) => acceptanceNote(stats),
  },
  {
    name: "first-token",
    label: "First token",
    help: "From the start of the run, the prompt included",
    value: (run) => duration(run.firstTokenS),
    note: ({ prefilled }) => (prefilled ? prefillNote(prefilled) : ""),
  },
  {
    name: "pause",
    label: "Pause between texts",
    help: "Time between what reaches the reader, half of the pauses are shorter; a step's tokens come together",
    value: ({ pauses }) => duration(pauses?.pause_p50_s),
    note: ({ pauses }) => (pauses?.num_pauses ? `median of ${pauses.num_pauses.toLocaleString("en")}` : ""),
  },
  {
    name: "late-pause",
    label: "Late pauses",
    help: "95% of the pauses are not longer; below, what 99% do not exceed",
    value: ({ pauses }) => duration(pauses?.pause_p95_s),
    note: ({ pauses }) => (pauses?.num_pauses ? `95%; 99% ${duration(pauses.pause_p99_s)}` : ""),
  },
  {
    name: "longest-pause",
    label: "Longest pause",
    help: "Between two texts of the answer; the wait for the first one is apart",
    value: ({ pauses }) => duration(pauses?.longest_pause_s),
    note: () => "",
  },
  {
    name: "burst",
    label: "Tokens at once",
    help: "Tokens that reach the reader together, the mean; below, the most",
    value: ({ pauses }) => fixed(pauses?.mean_burst, 2),
    note: ({ pauses }) => (pauses?.largest_burst ? `at most ${pauses.largest_burst}` : ""),
  },
];

/** @param {(string | number | false | null | undefined)[]} parts */
const joined = (...parts) => parts.filter(Boolean).join("; ");

/** @param {Stats | null} stats */
function bound(stats) {
  return stats?.origins?.acceptance_length === "at most" ? "≤ " : "";
}

/** @param {Stats | null} stats */
function acceptanceNote(stats) {
  if (!stats) return "";
  const { num_tested: tested, num_drafted: drafted, num_accepted: accepted } = stats;
  if (tested !== null) return joined(`of ${tested.toLocaleString("en")} tested`, originOf(stats, "acceptance_rate"));
  if (drafted === null || accepted === null) return ORIGINS.unknown;
  return `${accepted.toLocaleString("en")} of ${drafted.toLocaleString("en")} drafted, as the server tells`;
}

/** @param {Prefilled} prefilled */
function prefillNote({ num_tokens: computed, num_reused: reused }) {
  if (computed === null) return "";
  return `prompt ${computed + (reused ?? 0) + 1}${reused ? `, ${reused} reused` : ""}`;
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
  const nothing = { stats: null, pauses: null, firstTokenS: null, prefilled: null };
  store.subscribe(() => {
    const run = store.current ?? nothing;
    for (const { value, note, valueNode, noteNode } of cells) {
      setText(valueNode, value(run));
      setText(noteNode, note(run));
    }
  });
}
