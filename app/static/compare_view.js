// Runs side by side: who takes part, how far it is, then a picture, a table, verdicts, and a race on one clock.

import { comparisonTable } from "./compare_table.js";
import { h, onValue, setText } from "./dom.js";
import { promise } from "./empty_state.js";
import { lossyMark } from "./format.js";
import { frame } from "./frame.js";
import { figureOf } from "./gallery.js";
import { Memory } from "./memory.js";
import { messageOf } from "./net.js";
import { loadPlotly } from "./plotly.js";
import { Race } from "./race.js";
import { onTab } from "./tabs.js";

/** @import { ViewContext } from "./page_types.d.ts" */
/** @import { Comparison, ComparisonEntry, ComparisonEntries, ComparisonBegun, ComparisonProgress, ComparisonResult, Contender, ModeFacts, Notice } from "./types.d.ts" */

const PLAIN = { mode: "naive", settings: "always measured", lossy_rule: "" };
const PROMISES = [
  "how many times plain decoding each one is, with the spread of its repeats,",
  "where the time of a token goes: drafting, the target's forward, accepting, the rest,",
  "whether its text is plain decoding's, token for token, and where it parts if not,",
  "and all answers raced side by side on one clock.",
];
const LEAD = "Choose a set above, or add settings from the left, and press Compare. You will see";

/** @type {Comparison | null} */
let shownResult = null;
let draw = () => {};

/**
 * Shows a comparison that was made elsewhere, such as of kept runs.
 *
 * @param {Comparison} result
 */
export function showComparison(result) {
  shownResult = result;
  draw();
}

/** @param {ViewContext} context */
export function mount({ element, props, watch, trigger }) {
  const sets = h("div", { class: "set-choice", role: "group", "aria-label": "Sets of settings" });
  const list = h("ul", { class: "entries", "aria-label": "What is compared" });
  const leftOut = h("details", { class: "left-out", hidden: true });
  const gauge = h("span", { class: "gauge" });
  const told = h("span");
  const progress = h("p", { class: "comparison-progress", role: "status", hidden: true }, gauge, told);
  const notice = h("p", { class: "notice", role: "alert", hidden: true });
  const result = h("div", { class: "comparison" }, promise("The same prompt, side by side", LEAD, PROMISES));
  element.append(sets, list, leftOut, progress, notice, result);
  showContenders([PLAIN]);

  /** @param {ComparisonEntries} message */
  function showEntries({ entries, left_out: refused, sets: known }) {
    sets.replaceChildren(
      ...known.map(({ name, title, watch: look }) =>
        h(
          "button",
          {
            type: "button",
            class: "plain-button",
            "data-set": name,
            title: look,
            onclick: () => trigger("select", { set: name }),
          },
          title,
        ),
      ),
    );
    showContenders([PLAIN, ...entries]);
    showLeftOut(refused);
    notice.hidden = true;
  }

  /** @param {ModeFacts[]} refused */
  function showLeftOut(refused) {
    leftOut.hidden = !refused.length;
    leftOut.replaceChildren(
      h("summary", {}, `${refused.length} left out, which this target cannot run`),
      h("ul", {}, ...refused.map(({ mode, reason }) => h("li", {}, h("strong", {}, mode), ` ${reason}`))),
    );
  }

  /** @param {(ComparisonEntry | Contender)[]} contenders */
  function showContenders(contenders) {
    list.replaceChildren(...contenders.map(entryOf));
  }

  /** @param {boolean} isBusy */
  function busy(isBusy) {
    progress.hidden = !isBusy;
    frame().classList.toggle("is-comparing", isBusy);
  }

  draw = () => {
    if (!shownResult) return;
    busy(false);
    notice.hidden = true;
    const race = new Race(shownResult);
    const figures = h("div", { class: "figure-grid comparison-figures" });
    result.replaceChildren(comparisonTable(shownResult), figures, race.element);
    drawFigures(figures, shownResult);
  };

  onTab((name) => name === "compare" && window.dispatchEvent(new Event("resize")));
  window.addEventListener("themechange", () => {
    const figures = result.querySelector(".comparison-figures");
    if (shownResult && figures) drawFigures(figures, shownResult);
  });
  /** @type {string[]} */
  let comparisons = [];
  const memory = new Memory("comparison", () => comparisons);
  comparisons = memory.recall();
  if (comparisons.length) trigger("apply", { runs: comparisons });

  onValue({ props, watch }, (json) => {
    /** @type {ComparisonEntries | ComparisonBegun | ComparisonProgress | ComparisonResult | Notice} */
    const message = JSON.parse(json);
    if ("comparison" in message) {
      comparisons = [message.comparison];
      memory.keep();
    }
    if ("entries" in message) showEntries(message);
    if ("notice" in message) {
      busy(false);
      setText(notice, message.notice);
      notice.hidden = false;
    }
    if ("progress" in message) {
      const { contenders, done, total } = message.progress;
      notice.hidden = true;
      busy(true);
      gauge.style.setProperty("--share", String(done / total));
      setText(told, `run ${Math.min(done + 1, total)} of ${total}`);
      showContenders(contenders);
    }
    if ("result" in message) {
      showContenders(message.contenders);
      showComparison(message.result);
    }
  });
}

/** @param {ComparisonEntry | Contender} entry */
function entryOf(entry) {
  const { mode, settings, lossy_rule: lossyRule } = entry;
  const isRunning = "phase" in entry;
  return h(
    "li",
    isRunning ? { class: `contender ${entry.phase}`, "data-phase": entry.phase } : {},
    h("strong", {}, mode),
    ` ${settings} `,
    lossyRule ? h("span", { class: "lossy-badge" }, lossyMark(lossyRule)) : "",
    isRunning ? h("span", { class: "contender-told" }, entry.told) : "",
  );
}

/**
 * @param {Element} place
 * @param {Comparison} comparison
 */
async function drawFigures(place, { figures, templates }) {
  try {
    const plotly = await loadPlotly();
    const template = templates[document.body.classList.contains("dark") ? "dark" : "light"];
    place.replaceChildren(
      ...Object.entries(figures).map(([name, { data, layout }]) =>
        figureOf(plotly, { name, figure: { data, layout: { ...layout, template } }, csv: "", revision: name }),
      ),
    );
  } catch (error) {
    place.replaceChildren(h("p", { class: "hint" }, messageOf(error)));
  }
}
