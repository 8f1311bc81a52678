// The table of a comparison, with its verdicts.

import { h } from "./dom.js";
import { bytes, duration, fixed, percent, visible } from "./format.js";

/** @import { Comparison, SummaryRow, Verdict } from "./types.d.ts" */

// The verdict stands behind so many columns.
const NUM_BEFORE_VERDICT = 3;
/** @type {[string, (row: SummaryRow) => string][]} */
const COLUMNS = [
  ["Run", ({ run }) => run],
  ["Tokens/s", (row) => spread(row)],
  ["Speed-up", ({ speed_up: gain }) => (gain === null ? "–" : `${fixed(gain, 2)}×`)],
  ["Tokens a step, τ", (row) => tau(row)],
  ["Acceptance", (row) => acceptance(row)],
  ["Draft share", ({ draft_share: share }) => percent(share)],
  ["First token", ({ time_to_first_token_s: first }) => duration(first)],
  ["Pauses p50 / p95 / p99 / longest", (row) => pauses(row)],
  ["Tokens at once", ({ mean_burst: mean, largest_burst: most }) => (most ? `${fixed(mean, 2)}, most ${most}` : "–")],
  ["Memory", ({ peak_memory_bytes: peak }) => (peak ? bytes(peak) : "–")],
];

/** @param {SummaryRow} row */
function tau({ acceptance_length: length, num_steps: steps, steps_origin: origin }) {
  if (length === null) return "unknown";
  const words = origin === "at least" ? `≤ ${fixed(length, 2)} over at least` : `${fixed(length, 2)} over`;
  return `${words} ${steps} steps`;
}

/** @param {SummaryRow} row */
function acceptance({ acceptance_rate: rate, num_tested: tested, num_drafted: drafted, num_accepted: accepted }) {
  if (tested) return `${percent(rate)} of ${tested}`;
  if (drafted === null || accepted === null) return "unknown";
  return drafted ? `${accepted} of ${drafted} drafted` : "–";
}

/** @param {SummaryRow} row */
function spread({ tokens_per_s: median, tokens_per_s_min: least, tokens_per_s_max: most, num_runs: runs }) {
  if (median === null) return "–";
  return runs > 1 ? `${fixed(median, 1)} (${fixed(least, 1)}–${fixed(most, 1)}, ${runs} runs)` : fixed(median, 1);
}

/** @param {SummaryRow} row */
function pauses({ pause_p50_s: half, pause_p95_s: most, pause_p99_s: nearly, longest_pause_s: longest }) {
  return half === null ? "–" : [half, most, nearly, longest].map(duration).join(" / ");
}

/**
 * Whether a text is plain decoding's, in a sentence.
 *
 * @param {Verdict} verdict
 */
export function verdictText({ is_reference: isReference, refused, divergence, num_compared: compared }) {
  if (refused) return refused;
  if (isReference) return "the reference";
  if (!divergence) return `identical over ${compared} tokens`;
  const { position, reference_text: own, other_text: other, logit_gap: gap, is_lower_bound: isLeast } = divergence;
  const size = gap === null ? "" : `, logit gap ${isLeast ? "at least " : ""}${fixed(gap, 3)}`;
  return `parts at token ${position + 1}: “${visible(other)}” for “${visible(own)}”${size}`;
}

/** @param {Pick<Comparison, "rows" | "verdicts">} comparison */
export function comparisonTable({ rows, verdicts }) {
  const verdictHead = h("th", { scope: "col" }, "Verdict");
  const devices = [...new Set(rows.map(({ device, target }) => `${target} on ${device}`))];
  return h(
    "div",
    {},
    h("p", { class: "summary" }, devices.join("; ")),
    h(
      "div",
      { class: "table-scroller", tabindex: "0", role: "region", "aria-label": "Table" },
      h(
        "table",
        { class: "comparison-table" },
        h(
          "thead",
          {},
          h(
            "tr",
            {},
            ...COLUMNS.map(([name]) => h("th", { scope: "col" }, name)).toSpliced(NUM_BEFORE_VERDICT, 0, verdictHead),
          ),
        ),
        h("tbody", {}, ...rows.map((row, place) => line(row, verdicts[place]))),
      ),
    ),
  );
}

/**
 * @param {SummaryRow} row
 * @param {Verdict} verdict
 */
function line(row, verdict) {
  const kind = verdict.divergence || verdict.refused ? "parted" : "identical";
  const cells = COLUMNS.map(([, read], place) => h(place ? "td" : "th", place ? {} : { scope: "row" }, read(row)));
  const judged = h("td", { class: `verdict ${kind}` }, verdictText(verdict));
  return h("tr", {}, ...cells.toSpliced(NUM_BEFORE_VERDICT, 0, judged));
}
