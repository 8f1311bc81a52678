// The lab: profiles of several drafters, and what they predict. Every control asks the server anew, which
// replays the runs without the model.

import { newestOnly } from "./asking.js";
import { h, onValue, setText } from "./dom.js";
import { promise } from "./empty_state.js";
import { frame } from "./frame.js";
import { curveHandles, select, slider } from "./lab_controls.js";
import { drafterTable, groupTable } from "./lab_tables.js";
import { acceptanceOf, acceptanceWords, curveWords, exactness, progressWords, timesOf, verdict } from "./lab_words.js";
import { Memory } from "./memory.js";
import { getJson, messageOf, Refusal, send } from "./net.js";
import { drawFigure, loadPlotly } from "./plotly.js";
import { onTab, showTab } from "./tabs.js";

/** @import { ViewContext } from "./page_types.d.ts" */
/** @import { LabAnswer, LabChoice, LabCurves, LabMap, LabProgress, Notice } from "./types.d.ts" */

const MEASURES = [
  { name: "times_plain", words: "times plain decoding" },
  { name: "tokens_per_s", words: "tokens per second" },
  { name: "tau", words: "tokens a step" },
];
const BATCHES = [1, 2, 4, 8, 16, 32, 64].map((size) => ({ name: `${size}`, words: `${size}` }));
const OF = [
  { name: "best", words: "best settings" },
  { name: "given", words: "settings as measured" },
];
const DRAWN = "drawn";
const USUAL_GROUPING = "kind";
const LEAD =
  "Tick drafters and press Measure: each prompt is answered once under each of them. Every question after that needs no model. You will see";
const PROMISES = [
  "which drafter is fastest, with its best settings, and how far the settings matter,",
  "how that changes with sequences side by side and with the cost of verification,",
  "where the drafts of each fit: by kind of token, by place, by category of prompt,",
  "and any two settings of a drafter against each other, while sliders ask what if.",
];

let showOpened = (/** @type {LabProgress} */ _opened) => {};

/**
 * Shows a lab that was opened elsewhere, such as one of kept profiles.
 *
 * @param {LabProgress} opened
 */
export function showLab(opened) {
  if (frame().classList.contains("is-measuring")) {
    throw new Error("The Lab is measuring; stop it there, or wait for its end.");
  }
  showOpened(opened);
}

/** @param {ViewContext} context */
export function mount({ element, props, watch, trigger }) {
  const notice = h("p", { class: "notice", role: "alert", hidden: true });
  const gauge = h("span", { class: "gauge" });
  const told = h("span");
  const progress = h("p", { class: "comparison-progress", role: "status", hidden: true }, gauge, told);
  const refusals = h("ul", { class: "lab-refusals", "aria-label": "Drafters without a profile" });
  const hint = h("p", { class: "hint lab-told", role: "status" });
  const promised = promise("Measure once, ask afterwards", LEAD, PROMISES);

  const costs = select("Costs of", "lab-costs");
  const batch = select("Side by side", "lab-batch", BATCHES);
  const times = (/** @type {number} */ value) => `×${value.toFixed(2)}`;
  const verification = slider("Verification", "lab-verification", timesOf, times);
  const drafting = slider("Drafting", "lab-drafting", timesOf, times);
  const acceptance = slider("Acceptance", "lab-acceptance", acceptanceOf, acceptanceWords);
  const sliders = [verification, drafting, acceptance];
  const reset = h("button", { type: "button", class: "plain-button", onclick: asMeasured }, "As measured");
  const handles = curveHandles(() => {
    costs.fill(answer?.costs ?? [], DRAWN);
    askAll();
  });
  const controls = h(
    "div",
    { class: "lab-controls" },
    costs.label,
    batch.label,
    ...sliders.map(({ label }) => label),
    reset,
  );
  const drawing = h(
    "details",
    { class: "lab-drawing" },
    h("summary", {}, "Milliseconds of a forward by its rows, drawn by hand"),
    handles.element,
  );

  const said = h("p", { class: "lab-verdict", role: "status" });
  const note = h("p", { class: "hint lab-note", hidden: true });
  const drafters = h("div");
  const measure = select("Figures of", "lab-measure", MEASURES);
  const curves = ["batch", "verification"].map(() => ({
    place: h("div", { class: "figure-place lab-curve" }),
    winners: h("figcaption", { class: "hint" }),
  }));
  const by = select("Tokens by", "lab-by");
  const of = select("At the", "lab-of", OF);
  const groups = h("div");
  const groupNote = h("p", { class: "hint" });
  const mode = select("Map of", "lab-mode");
  const x = select("Across", "lab-x");
  const y = select("Up", "lab-y");
  const sized = h("input", { type: "checkbox", id: "lab-sized" });
  const map = h("div", { class: "figure-place lab-map" });

  const panel = h(
    "section",
    { class: "lab-panel", hidden: true },
    controls,
    drawing,
    said,
    note,
    drafters,
    section(
      "Along batches and costs",
      [measure.label],
      h("div", { class: "lab-curves" }, ...curves.map((each) => h("figure", {}, each.place, each.winners))),
    ),
    section("Where drafts fit", [by.label, of.label], groups, groupNote),
    section(
      "Two settings of a drafter",
      [mode.label, x.label, y.label, h("label", { class: "lab-check" }, sized, "Trees sized by cost")],
      map,
    ),
  );
  element.append(notice, progress, refusals, hint, promised, panel);

  let labId = "";
  /** Which of the labs that were shown here this is. */
  let number = 0;
  /** @type {string[]} */
  let kept = [];
  /** @type {Promise<void> | null} */
  let reopening = null;
  /** @type {LabAnswer | null} */
  let answer = null;

  /**
   * @param {string} name
   * @param {Record<string, string>} more
   */
  function asked(name, more = {}) {
    const query = new URLSearchParams({
      batch: batch.value(),
      verification: `${verification.value()}`,
      drafting: `${drafting.value()}`,
      acceptance: `${acceptance.value()}`,
      measure: measure.value(),
      theme: document.body.classList.contains("dark") ? "dark" : "light",
      ...more,
    });
    if (costs.value()) query.set("costs", costs.value());
    if (costs.value() === DRAWN) query.set("curve", curveWords(handles.rows(), handles.ms()));
    return ofLab(`${name}.json?${query}`);
  }

  /**
   * What the lab answers. One that the server has let go of is opened again from its kept profiles.
   *
   * @param {string} question
   */
  async function ofLab(question) {
    const ask = () => getJson(`labs/${encodeURIComponent(labId)}/${question}`);
    const mine = number;
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof Refusal && error.isMissing) || !kept.length) throw error;
      reopening ??= reopen();
      await reopening.finally(() => (reopening = null));
      if (mine !== number) throw error;
      return ask();
    }
  }

  async function reopen() {
    const mine = number;
    const { lab } = await send("POST", `labs.json?ids=${kept.map(encodeURIComponent).join(",")}`);
    if (mine !== number) return;
    labId = lab;
    memory.keep();
  }

  /** @type {Map<string, string>} */
  const wrong = new Map();

  /**
   * Shows what is wrong with one of the things that are asked for, until that is right.
   *
   * @param {"begin" | "measure" | "answer" | "curves" | "map"} of
   * @param {string} sentence empty where nothing is
   */
  function tell(of, sentence) {
    wrong.set(of, sentence);
    const sentences = new Set([...wrong.values()].filter(Boolean));
    setText(notice, [...sentences].join(" "));
    notice.hidden = !sentences.size;
  }

  /**
   * Asks and shows, unless other profiles came meanwhile; what is refused is told.
   *
   * @template T
   * @param {"answer" | "curves" | "map"} name
   * @param {() => Promise<T>} ask
   * @param {(found: T) => void} show
   */
  async function shown(name, ask, show) {
    const mine = number;
    try {
      const found = await ask();
      if (mine !== number) return;
      show(found);
      tell(name, "");
    } catch (error) {
      if (mine === number) tell(name, messageOf(error));
    }
  }

  const askCurves = newestOnly(() => shown("curves", () => withPlotly(asked("curves")), showCurves));
  const askMap = newestOnly(() => shown("map", () => withPlotly(asked("map", mapAsked())), showMap));

  // The tables come first: what they have replayed the figures need not replay again.
  const askAnswer = newestOnly(
    () => shown("answer", () => asked("answer", { of: of.value() }), showAnswer),
    () => {
      askCurves();
      askMap();
    },
  );

  function mapAsked() {
    /** @type {Record<string, string>} */
    const query = { sized: sized.checked ? "yes" : "no" };
    for (const { name, value } of [mode, x, y]) if (value()) query[name] = value();
    return query;
  }

  function askAll() {
    if (labId) askAnswer();
  }

  function asMeasured() {
    for (const each of sliders) each.reset();
    batch.fill(BATCHES, "1");
    if (answer) costs.fill(answer.costs, answer.costs[0].name);
    askAll();
  }

  /** @param {LabAnswer} found */
  function showAnswer(found) {
    answer = found;
    panel.hidden = false;
    const chosen = costs.value() || found.costs[0].name;
    costs.fill(found.costs, chosen);
    if (chosen !== DRAWN) handles.show(found.handles, found.curve_ms);
    setText(said, verdict(found));
    setText(note, found.note);
    note.hidden = !found.note;
    drafters.replaceChildren(drafterTable(found, use));
    const named = found.groupings.map(({ by: name, words }) => ({ name, words }));
    by.fill(named, by.value() || USUAL_GROUPING);
    const modes = found.drafters.map((each) => ({ name: each.mode, words: each.mode }));
    mode.fill(modes, modes.some(({ name }) => name === mode.value()) ? mode.value() : modes[0].name);
    showGroups();
    setText(hint, exactness(found));
  }

  function showGroups() {
    const grouping = answer?.groupings.find((each) => each.by === by.value());
    if (!answer || !grouping) return;
    groups.replaceChildren(groupTable(answer, grouping));
    setText(
      groupNote,
      `Kept: of the tokens in whose place something was drafted. Tokens a step: of the steps that begin there. A question mark: fewer than ${answer.few}, which chance moves.`,
    );
  }

  /** @param {{ plotly: any, found: LabCurves }} drawn */
  function showCurves({ plotly, found }) {
    found.figures.forEach((figure, place) => {
      draw(plotly, curves[place].place, figure, 340);
      setText(curves[place].winners, found.winners[place]);
    });
  }

  /** @param {{ plotly: any, found: LabMap }} drawn */
  function showMap({ plotly, found }) {
    x.fill(found.axes, found.x);
    y.fill(found.axes, found.y);
    draw(plotly, map, found.figure, 380);
  }

  /**
   * @param {string} name
   * @param {LabChoice} choice
   */
  function use(name, choice) {
    trigger("select", { mode: name, settings: choice.settings });
    showTab("playground");
  }

  /** @param {LabProgress} message */
  function showProgress(message) {
    if (message.lab !== labId) {
      labId = message.lab;
      number += 1;
      answer = null;
      panel.hidden = true;
      promised.hidden = true;
      wrong.clear();
      for (const { fill } of [mode, x, y]) fill([], "");
    }
    const { modes, done, total, is_over: isOver } = message;
    kept = message.runs;
    frame().classList.toggle("is-measuring", !isOver);
    progress.hidden = isOver;
    gauge.style.setProperty("--share", String(total ? done / total : 0));
    setText(told, progressWords(message));
    const refused = modes.filter((each) => each.refused);
    refusals.replaceChildren(...refused.map((each) => h("li", {}, h("strong", {}, each.mode), ` ${each.refused}`)));
    tell("begin", "");
    tell("measure", message.failure);
    setText(hint, isOver && !done && !message.failure ? message.status : "");
    if (isOver && done) askAll();
  }

  for (const { label } of [costs, batch]) label.addEventListener("change", askAll);
  for (const { label } of sliders) label.addEventListener("input", askAll);
  measure.label.addEventListener("change", () => {
    askCurves();
    askMap();
  });
  of.label.addEventListener("change", askAnswer);
  by.label.addEventListener("change", showGroups);
  mode.label.addEventListener("change", () => {
    for (const { fill } of [x, y]) fill([], "");
    askMap();
  });
  for (const { label } of [x, y]) label.addEventListener("change", askMap);
  sized.addEventListener("change", askMap);
  addEventListener("themechange", () => answer && askAll());
  onTab((name) => name === "lab" && window.dispatchEvent(new Event("resize")));

  // Its profiles are kept for longer than the lab itself.
  const memory = new Memory("lab", () => (labId ? [labId, ...kept] : []));
  const remembered = memory.recall();
  if (remembered.length) trigger("apply", { runs: remembered });

  showOpened = (message) => {
    showProgress(message);
    memory.keep();
  };

  onValue({ props, watch }, (json) => {
    /** @type {LabProgress | Notice} */
    const message = JSON.parse(json);
    if ("notice" in message) {
      tell("begin", message.notice);
      return;
    }
    showOpened(message);
  });
}

/**
 * Titled part of the panel, with the choices that are its own.
 *
 * @param {string} title
 * @param {Element[]} choices
 * @param {Element[]} parts
 */
function section(title, choices, ...parts) {
  return h(
    "section",
    { class: "lab-section" },
    h("h3", {}, title),
    h("div", { class: "lab-controls" }, ...choices),
    ...parts,
  );
}

/**
 * @template T
 * @param {Promise<T>} answer
 */
async function withPlotly(answer) {
  const [plotly, found] = await Promise.all([loadPlotly(), answer]);
  return { plotly, found };
}

/**
 * @param {any} plotly
 * @param {HTMLElement} place
 * @param {Record<string, any>} figure
 * @param {number} height
 */
function draw(plotly, place, { data, layout }, height) {
  drawFigure(plotly, place, { data, layout: { ...layout, height } });
}
