// Runs side by side: who takes part, how far it is, then a table, verdicts, and a race on one clock.

import { comparisonTable } from "./compare_table.js";
import { h, onValue, setText } from "./dom.js";
import { lossyMark } from "./format.js";
import { frame } from "./frame.js";
import { Memory } from "./memory.js";
import { Race } from "./race.js";
import { onTab } from "./tabs.js";

/** @import { ViewContext } from "./page_types.d.ts" */
/** @import { Comparison, ComparisonEntry, ComparisonEntries, ComparisonBegun, ComparisonProgress, ComparisonResult, Notice } from "./types.d.ts" */

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
  const list = h("ul", { class: "entries", "aria-label": "What is compared" });
  const progress = h("p", { class: "comparison-progress", role: "status", hidden: true });
  const gauge = h("span", { class: "gauge" });
  const told = h("span");
  progress.append(gauge, told);
  const notice = h("p", { class: "notice", role: "alert", hidden: true });
  const result = h("div", { class: "comparison" });
  element.append(list, progress, notice, result);
  showEntries([]);

  /** @param {ComparisonEntry[]} entries */
  function showEntries(entries) {
    const all = [{ mode: "naive", settings: "always measured", lossy_rule: "" }, ...entries];
    list.replaceChildren(
      ...all.map(({ mode, settings, lossy_rule: lossyRule }) =>
        h(
          "li",
          {},
          h("strong", {}, mode),
          ` ${settings} `,
          lossyRule ? h("span", { class: "lossy-badge" }, lossyMark(lossyRule)) : "",
        ),
      ),
    );
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
    result.replaceChildren(comparisonTable(shownResult), race.element);
  };

  onTab((name) => name === "compare" && window.dispatchEvent(new Event("resize")));
  /** @type {string[]} */
  let comparisons = [];
  const memory = new Memory("comparison", () => comparisons);
  comparisons = memory.recall();
  if (comparisons.length) trigger("apply", { runs: comparisons });

  onValue({ props, watch }, (json) => {
    /** @type {Partial<ComparisonEntries & ComparisonBegun & ComparisonProgress & ComparisonResult & Notice>} */
    const message = JSON.parse(json);
    if (message.comparison) {
      comparisons = [message.comparison];
      memory.keep();
    }
    if (message.entries) showEntries(message.entries);
    if (message.notice) {
      busy(false);
      setText(notice, message.notice);
      notice.hidden = false;
    }
    if (message.progress) {
      const { stage, status, tokens, done, total } = message.progress;
      notice.hidden = true;
      busy(true);
      gauge.style.setProperty("--share", String(done / total));
      setText(told, `${stage} — ${tokens ? `${tokens} tokens` : status} (${done + 1} of ${total})`);
    }
    if (message.result) showComparison(message.result);
  });
}
