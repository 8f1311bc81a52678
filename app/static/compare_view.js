// Runs side by side: who takes part, how far it is, then a table, verdicts, and a race on one clock.

import { h, onValue, setText } from "./dom.js";
import { comparisonTable } from "./compare_table.js";
import { lossyMark } from "./format.js";
import { frame } from "./frame.js";
import { Race } from "./race.js";
import { onTab } from "./tabs.js";

let shownResult = null;
let draw = () => {};

/** Shows a comparison that was made elsewhere, such as of kept runs. */
export function showComparison(result) {
  shownResult = result;
  draw();
}

export function mount({ element, props, watch }) {
  const list = h("ul", { class: "contenders", "aria-label": "What is compared" });
  const progress = h("p", { class: "contest-progress", role: "status", hidden: true });
  const gauge = h("span", { class: "gauge" });
  const told = h("span");
  progress.append(gauge, told);
  const notice = h("p", { class: "notice", role: "alert", hidden: true });
  const result = h("div", { class: "comparison" });
  element.append(list, progress, notice, result);
  showContenders([]);

  function showContenders(contenders) {
    const all = [{ mode: "naive", settings: "always measured" }, ...contenders];
    list.replaceChildren(
      ...all.map(({ mode, settings, lossy_rule: lossyRule }) =>
        h("li", {}, h("strong", {}, mode), ` ${settings} `, lossyRule ? h("span", { class: "lossy-badge" }, lossyMark(lossyRule)) : ""),
      ),
    );
  }

  function busy(isBusy) {
    progress.hidden = !isBusy;
    frame().classList.toggle("is-comparing", isBusy);
  }

  draw = () => {
    busy(false);
    notice.hidden = true;
    const race = new Race(shownResult);
    result.replaceChildren(comparisonTable(shownResult), race.element);
  };

  onTab((name) => name === "compare" && window.dispatchEvent(new Event("resize")));
  onValue({ props, watch }, (json) => {
    const message = JSON.parse(json);
    if (message.contenders) showContenders(message.contenders);
    if (message.notice) {
      busy(false);
      setText(notice, message.notice);
      notice.hidden = false;
    }
    if (message.progress) {
      const { stage, status, tokens, done, total } = message.progress;
      notice.hidden = true;
      busy(true);
      gauge.style.setProperty("--share", done / total);
      setText(told, `${stage} — ${tokens ? `${tokens} tokens` : status} (${done + 1} of ${total})`);
    }
    if (message.result) showComparison(message.result);
  });
}
