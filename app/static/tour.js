// A short tour after the first preset that somebody runs: three stops, the last one a step explained.

import { h } from "./dom.js";
import { explainStep, tellingStep } from "./explain.js";
import { counted, fixed } from "./format.js";
import { frame } from "./frame.js";
import { store } from "./page.js";
import { stage } from "./stage.js";
import { onTab } from "./tabs.js";

/** @import { RunModel } from "./run_model.js" */

const KEY = "specdecodes-tour";
const GAP_PX = 12;

/** @typedef {{ at: string, words: (run: RunModel) => string }} Stop */

/** @type {Stop[]} */
const STOPS = [
  {
    at: ".turn:last-child .strip",
    words: () =>
      "Every token tells where it came from: underlined ones were drafted and kept, the target wrote the others. Point at one, or click it.",
  },
  {
    at: "#figures",
    words: ({ stats }) =>
      `${counted(stats?.num_tokens ?? 0, "token")} came in ${counted(stats?.num_steps ?? 0, "step")}, each one pass of the target: ${fixed(stats?.acceptance_length, 2)} tokens a step instead of one.`,
  },
];

let isWanted = false;
/** The last turn of before. @type {string | undefined} */
let before;

/** A preset was chosen: when its answer is complete, the tour begins, once for a browser. */
export function tourAfterPreset() {
  isWanted = !localStorage.getItem(KEY);
  before = store.turns.at(-1);
}

/** Waits for the answer of a preset. */
export function mountTour() {
  store.subscribe(() => {
    const { current: run } = store;
    if (!isWanted || !run?.isEnded || run.id === before || frame().dataset.tab !== "playground") return;
    isWanted = false;
    const step = tellingStep(run.steps);
    if (!step) return;
    localStorage.setItem(KEY, "seen");
    begin(run, step.index);
  });
}

/**
 * @param {RunModel} run
 * @param {number} stepIndex
 */
function begin(run, stepIndex) {
  const words = h("p");
  const next = h("button", { type: "button", class: "plain-button" });
  const skip = h("button", { type: "button", class: "link", onclick: close }, "Skip the tour");
  const callout = h(
    "div",
    { class: "tour", role: "dialog", "aria-label": "A short tour" },
    words,
    h("div", {}, next, skip),
  );
  let at = 0;
  document.body.append(callout);
  callout.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    close();
  });
  next.addEventListener("click", () => {
    at += 1;
    if (at > STOPS.length) explain();
    else show();
  });
  show();
  onTab((name) => name === "playground" || close());

  function show() {
    const isLast = at === STOPS.length;
    const numParts = explainStep(run, run.steps[stepIndex]).length;
    words.textContent = isLast
      ? `Step ${stepIndex + 1} kept some drafts and refused others. See it told in ${numParts} short parts, with its own numbers.`
      : STOPS[at].words(run);
    next.textContent = isLast ? "Explain this step" : "Next";
    const target = document.querySelector(isLast ? "#stage" : STOPS[at].at);
    if (target) place(callout, target.getBoundingClientRect());
  }

  function explain() {
    close();
    store.select(run.id, stepIndex);
    stage.choose("explain");
  }

  function close() {
    callout.remove();
  }
}

/**
 * Beside a part of the page, inside the window.
 *
 * @param {HTMLElement} callout
 * @param {DOMRect} rect
 */
function place(callout, rect) {
  const { offsetWidth: width, offsetHeight: height } = callout;
  const left = Math.min(Math.max(GAP_PX, rect.left), window.innerWidth - width - GAP_PX);
  const below = rect.bottom + GAP_PX;
  const top =
    below + height < window.innerHeight
      ? below
      : Math.max(GAP_PX, Math.min(rect.top, window.innerHeight) - height - GAP_PX);
  callout.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
}
