// The tables of the lab: drafters side by side, and where the drafts of each fit.

import { h } from "./dom.js";
import { choiceWords, ratioWords, short } from "./lab_words.js";

/** @import { LabAnswer, LabCell, LabChoice, LabDrafter, LabGrouping } from "./types.d.ts" */

/**
 * Drafters side by side; `use` is told which one is to go into the playground.
 *
 * @param {LabAnswer} answer
 * @param {(mode: string, choice: LabChoice) => void} use
 */
export function drafterTable(answer, use) {
  const head = ["Drafter", "Best tokens/s (× plain)", "τ", "Best settings", "As measured", "τ", "Range, × plain", ""];
  const rows = answer.drafters.map((each, place) => drafterRow(each, place, each.mode === answer.winner, use));
  const plain = h(
    "tr",
    { class: "lab-plain" },
    name("plain decoding", null, answer.winner === "plain decoding"),
    cell(`${short(answer.plain_tokens_per_s)} (1.00×)`),
    cell("1.00"),
    ...Array.from({ length: head.length - 3 }, () => h("td")),
  );
  return table("lab-drafters", "Drafters side by side", head, [...rows, plain]);
}

/**
 * @param {LabDrafter} each
 * @param {number} place
 * @param {boolean} isWinner
 * @param {(mode: string, choice: LabChoice) => void} use
 */
function drafterRow({ mode, best, given, slowest }, place, isWinner, use) {
  const button = h(
    "button",
    {
      type: "button",
      class: "plain-button",
      onclick: () => use(mode, best),
      "aria-label": `Use the best settings of ${mode}`,
    },
    "Use",
  );
  return h(
    "tr",
    { class: isWinner ? "is-winner" : null },
    name(mode, place, isWinner),
    cell(choiceWords(best)),
    cell(best.tau.toFixed(2)),
    h("td", { class: "lab-words" }, best.words),
    cell(choiceWords(given)),
    cell(given.tau.toFixed(2)),
    cell(`${slowest.times_plain.toFixed(2)}–${best.times_plain.toFixed(2)}`),
    h("td", {}, button),
  );
}

/**
 * How often drafts are kept in every group of tokens, and how long the steps are that begin there.
 *
 * @param {LabAnswer} answer
 * @param {LabGrouping} grouping
 */
export function groupTable(answer, grouping) {
  const head = [grouping.words[0].toUpperCase() + grouping.words.slice(1), "Tokens"];
  for (const { mode } of answer.drafters) head.push(`${mode}: kept`, "tokens a step");
  const rows = grouping.rows.map((row) =>
    h(
      "tr",
      {},
      h("th", { scope: "row" }, row.name),
      cell(`${row.num_tokens}`),
      ...row.cells.flatMap((each, place) => groupCells(each, place, answer.few)),
    ),
  );
  return table("lab-groups", grouping.words, head, rows);
}

/**
 * @param {LabCell} each
 * @param {number} place
 * @param {number} few
 */
function groupCells(each, place, few) {
  const kept = h(
    "td",
    { class: `lab-kept${each.num_judged < few ? " is-few" : ""}`, "data-line": `${place}` },
    ratioWords(each.acceptance, each.num_judged, few),
  );
  kept.style.setProperty("--share", `${each.acceptance ?? 0}`);
  return [kept, cell(ratioWords(each.tokens_a_step, each.num_steps, few))];
}

/**
 * @param {string} words
 * @param {number | null} place
 * @param {boolean} isWinner
 */
function name(words, place, isWinner) {
  const mark = place === null ? "lab-line is-plain" : "lab-line";
  return h(
    "th",
    { scope: "row" },
    h("span", { class: mark, "data-line": place === null ? null : `${place}` }),
    h("span", {}, words),
    isWinner ? h("span", { class: "lab-badge" }, "fastest") : "",
  );
}

/** @param {string} text */
function cell(text) {
  return h("td", {}, text);
}

/**
 * @param {string} className
 * @param {string} words
 * @param {string[]} head
 * @param {Element[]} rows
 */
function table(className, words, head, rows) {
  return h(
    "div",
    { class: "table-scroller", tabindex: "0", role: "group", "aria-label": words },
    h(
      "table",
      { class: `lab-table ${className}` },
      h("thead", {}, h("tr", {}, ...head.map((text) => h("th", { scope: "col" }, text)))),
      h("tbody", {}, ...rows),
    ),
  );
}
