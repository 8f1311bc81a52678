// The lab: one profile, and what it predicts. Every control asks the server anew, which replays the run
// without the model.

import { h, onValue, setText, showNotice } from "./dom.js";
import { frame } from "./frame.js";
import { choiceWords, exactness, timesOf, verdict } from "./lab_words.js";
import { Memory } from "./memory.js";
import { getJson, messageOf } from "./net.js";
import { loadPlotly } from "./plotly.js";
import { Store } from "./store.js";
import { Strip } from "./strip.js";
import { showTab } from "./tabs.js";

/** @import { ViewContext } from "./page_types.d.ts" */
/** @import { LabAnswer, LabChoice, LabName, Notice, RunMessage } from "./types.d.ts" */

const MEASURES = [
  { name: "tokens_per_s", words: "tokens per second" },
  { name: "tau", words: "tokens a step" },
  { name: "times_plain", words: "times plain decoding" },
];
const BATCHES = [1, 2, 4, 8, 16, 32, 64].map((size) => ({ name: `${size}`, words: `${size}` }));

/** @param {ViewContext} context */
export function mount({ element, props, watch, trigger, server }) {
  const notice = h("p", { class: "notice", role: "alert", hidden: true });
  const strip = h("div", {
    class: "lane-strip lab-strip",
    tabindex: "0",
    role: "group",
    "aria-label": "Measured text",
  });
  const hint = h(
    "p",
    { class: "hint", role: "status" },
    "Measure a prompt once; every question after that needs no model.",
  );
  const x = select("Across", "lab-x");
  const y = select("Up", "lab-y");
  const costs = select("Costs of", "lab-costs");
  const batch = select("Side by side", "lab-batch", BATCHES);
  const measure = select("Colour", "lab-measure", MEASURES);
  const sized = h("input", { type: "checkbox", id: "lab-sized" });
  const verification = slider("Verification", "lab-verification");
  const drafting = slider("Drafting", "lab-drafting");
  const controls = h(
    "div",
    { class: "lab-controls" },
    ...[x, y, measure, costs, batch].map(({ label }) => label),
    verification.label,
    drafting.label,
    h("label", { class: "lab-check" }, sized, "Trees sized by cost"),
  );
  const place = h("div", { class: "figure-place lab-map" });
  const told = h("p", { class: "lab-verdict", role: "status" });
  const given = card("Settings as measured");
  const best = card("Best");
  const use = h("button", { type: "button", class: "plain-button", onclick: useBest }, "Use this setting");
  best.element.append(use);
  const panel = h(
    "section",
    { class: "lab-panel", hidden: true },
    controls,
    place,
    told,
    h("div", { class: "lab-cards" }, given.element, best.element),
  );
  element.append(notice, strip, hint, panel);

  let store = new Store();
  let runId = "";
  let number = 0;
  /** @type {LabAnswer | null} */
  let answer = null;

  function useBest() {
    if (!answer) return;
    trigger("select", { mode: answer.mode, settings: answer.best.settings });
    showTab("playground");
  }

  /** @param {string} id */
  function begin(id) {
    runId = id;
    answer = null;
    panel.hidden = true;
    store = new Store();
    store.ask = (request) => server.since(request);
    strip.replaceChildren();
    const own = store;
    /** @type {Strip | null} */
    let drawn = null;
    let isTold = false;
    store.subscribe(() => {
      const run = store.runs.get(runId);
      if (own !== store || !run) return;
      if (!drawn) {
        drawn = new Strip(run, false);
        strip.append(drawn.element);
      }
      drawn.update();
      strip.scrollTop = strip.scrollHeight;
      frame().classList.toggle("is-measuring", !run.isEnded);
      if (!run.isEnded) setText(hint, run.status.text);
      if (run.isEnded && !isTold) {
        isTold = true;
        if (run.status.phase === "failed") setText(hint, run.status.text);
        else ask();
      }
    });
  }

  async function ask() {
    const mine = ++number;
    const query = new URLSearchParams({
      theme: document.body.classList.contains("dark") ? "dark" : "light",
      measure: measure.value(),
      batch: batch.value(),
      verification: `${timesOf(verification.place())}`,
      drafting: `${timesOf(drafting.place())}`,
      sized: sized.checked ? "yes" : "no",
    });
    for (const { name, value } of [x, y, costs]) if (answer && value()) query.set(name, value());
    try {
      const [plotly, found] = await Promise.all([
        loadPlotly(),
        getJson(`runs/${encodeURIComponent(runId)}/lab.json?${query}`),
      ]);
      if (mine !== number) return;
      show(found);
      const { data, layout } = found.figure;
      plotly.react(place, data, { ...layout, height: 380 }, { displayModeBar: false, responsive: true });
      setText(hint, exactness(found));
    } catch (error) {
      if (mine === number) setText(hint, messageOf(error));
    }
  }

  /** @param {LabAnswer} found */
  function show(found) {
    answer = found;
    panel.hidden = false;
    x.fill(found.axes, found.x);
    y.fill(found.axes, found.y);
    costs.fill(found.costs, costs.value() || found.costs[0].name);
    setText(told, verdict(found));
    given.show(found.given);
    best.show(found.best);
    use.disabled = found.best.times_plain <= 1;
  }

  for (const { label } of [x, y, costs, batch, measure]) label.addEventListener("change", ask);
  for (const { label } of [verification, drafting]) label.addEventListener("input", ask);
  sized.addEventListener("change", ask);
  addEventListener("themechange", () => answer && ask());

  const memory = new Memory("lab", () => (runId ? [runId] : []));
  const remembered = memory.recall();
  if (remembered.length) trigger("apply", { runs: remembered });

  onValue({ props, watch }, (json) => {
    /** @type {RunMessage | Notice} */
    const message = JSON.parse(json);
    if (showNotice(notice, message)) return;
    if (message.run !== runId) begin(message.run);
    memory.keep();
    store.take(message);
  });
}

/**
 * A labelled choice; `name` without its prefix is what the server calls it.
 *
 * @param {string} words
 * @param {string} id
 * @param {LabName[]} [options]
 */
function select(words, id, options = []) {
  const box = h("select", { id });
  /**
   * @param {LabName[]} names
   * @param {string} chosen
   */
  function fill(names, chosen) {
    box.replaceChildren(...names.map(({ name, words: text }) => h("option", { value: name }, text)));
    box.value = chosen;
  }
  if (options.length) fill(options, options[0].name);
  return { name: id.replace("lab-", ""), label: h("label", {}, words, box), value: () => box.value, fill };
}

/**
 * How many times as long something takes.
 *
 * @param {string} words
 * @param {string} id
 */
function slider(words, id) {
  const range = h("input", { type: "range", id, min: "-20", max: "20", value: "0" });
  const told = h("output", { for: id }, "×1.00");
  range.addEventListener("input", () => setText(told, `×${timesOf(range.valueAsNumber).toFixed(2)}`));
  return { label: h("label", {}, h("span", {}, words, " ", told), range), place: () => range.valueAsNumber };
}

/** @param {string} title */
function card(title) {
  const words = h("p", { class: "lab-words" });
  const numbers = h("p", { class: "lab-numbers" });
  return {
    element: h("section", { class: "lab-card" }, h("h3", {}, title), words, numbers),
    /** @param {LabChoice} choice */
    show(choice) {
      setText(words, choice.words);
      setText(numbers, choiceWords(choice));
    },
  };
}
