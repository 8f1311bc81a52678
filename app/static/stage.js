// The large panel of the instruments: ways to look at a step or its run, which can take the whole page.

import { copyText } from "./clipboard.js";
import { h, setText } from "./dom.js";
import { explainLook } from "./explain_view.js";
import { frame } from "./frame.js";
import { icon } from "./icons.js";
import { store } from "./page.js";
import { addressOfStep } from "./run_link.js";
import { mapLook } from "./run_map.js";
import { splitter } from "./split.js";
import { treeLook } from "./tree_view.js";

/** @import { Changes, Look, ViewContext } from "./page_types.d.ts" */

// While a run streams, the newest step is drawn this often at most.
const LIVE_PAUSE_MS = 120;
// Of the text around a step, beside its tree where that has the whole page.
const BEFORE_TOKENS = 60;
const AFTER_TOKENS = 40;

class Stage {
  constructor() {
    /** @type {Look[]} */
    this.looks = [];
    /** @type {Look | null} */
    this.shown = null;
    this._redraw = () => {};
    /** Goes so many parts on in the story of a step. @type {(by: number) => unknown} */
    this.onMove = () => {};
  }

  /**
   * @param {Look[]} looks
   * @param {() => void} redraw
   */
  fill(looks, redraw) {
    this.looks = looks;
    this._redraw = redraw;
    this.show(looks[0].name);
  }

  /** @param {string} name */
  show(name) {
    this.shown = this.looks.find((look) => look.name === name) ?? null;
    for (const look of this.looks) {
      look.element.hidden = look !== this.shown;
      for (const tool of look.tools) tool.classList.toggle("off", look !== this.shown);
    }
    this._redraw();
  }

  /**
   * Shows a look with the room that it needs.
   *
   * @param {string} name
   */
  choose(name) {
    this.show(name);
    if (this.shown?.isLarge) this.enlarge(true);
  }

  get isLarge() {
    return frame().dataset.stage === "large";
  }

  /** @param {boolean} isLarge */
  enlarge(isLarge) {
    frame().dataset.stage = isLarge ? "large" : "small";
    this._redraw();
  }

  toggle() {
    this.enlarge(!this.isLarge);
  }

  /** @param {number} factor */
  zoom(factor) {
    this.shown?.zoom(factor);
  }

  fit() {
    this.shown?.fit();
  }
}

export const stage = new Stage();

/** @param {ViewContext} context */
export function mount({ element }) {
  const story = explainLook();
  const looks = [treeLook(), mapLook(), story];
  const buttons = looks.map(({ name, label, help }) =>
    h("button", { type: "button", class: "look-button", title: help, onclick: () => stage.choose(name) }, label),
  );
  const summary = h("p", { class: "summary" });
  const live = h(
    "button",
    { type: "button", class: "link", hidden: true, onclick: () => store.release() },
    "back to newest",
  );
  const link = h(
    "button",
    { type: "button", class: "link", title: "Copies the address of this step", onclick: copyLink },
    "copy link",
  );
  const fit = h("button", { type: "button", class: "link", onclick: () => stage.fit() }, "fit");
  const large = h("button", { type: "button", class: "icon-button enlarge", onclick: () => stage.toggle() });
  const hint = h("p", { class: "hint" }, "The tree of a step appears here.");
  const context = h("p", { class: "stage-text", "aria-label": "Text around the step" });
  element.append(
    h(
      "div",
      { class: "panel-head" },
      h("div", { class: "looks", role: "group", "aria-label": "What is shown" }, ...buttons),
      link,
      large,
    ),
    h("div", { class: "panel-head" }, summary, live, ...looks.flatMap(({ tools }) => tools), fit),
    context,
    hint,
    ...looks.map((look) => look.element),
  );
  const instruments = /** @type {HTMLElement} */ (document.querySelector("#instruments"));
  instruments.before(
    splitter({
      name: "instruments-width",
      label: "Border between chat and instruments",
      axis: "x",
      sign: -1,
      least: 340,
      most: () => (instruments.parentElement?.clientWidth ?? 0) - 340,
      size: () => instruments.clientWidth,
    }),
  );
  let timer = 0;
  /** @type {Changes} */
  const everything = { chat: true, selection: true, runs: new Set() };

  /** @param {Changes} [changes] */
  function redraw(changes = everything) {
    timer = 0;
    live.hidden = !store.isPinned;
    link.hidden = !store.step;
    const isObserved = Boolean(store.step?.observed);
    setText(hint, isObserved ? "A server does not tell its draft trees." : "The tree of a step appears here.");
    hint.hidden = Boolean(store.step) && !isObserved;
    setText(summary, stage.shown?.summary() ?? "");
    looks.forEach((look, place) => {
      buttons[place].setAttribute("aria-pressed", String(look === stage.shown));
    });
    const { isLarge } = stage;
    const label = isLarge ? "Back to its place (Esc)" : "Enlarge over the page (f)";
    large.replaceChildren(icon(isLarge ? "shrink" : "enlarge"));
    large.title = label;
    large.setAttribute("aria-label", label);
    if (isLarge) context.replaceChildren(...textAround());
    stage.shown?.draw(changes);
  }

  stage.fill(looks, redraw);
  stage.onMove = (by) => stage.shown === story && story.move(by);
  element.addEventListener("dblclick", ({ target }) => {
    if (target instanceof Element && !target.closest(".node, button, .stage-text")) stage.toggle();
  });
  store.subscribe((changes) => {
    if (changes.chat || changes.selection) {
      clearTimeout(timer);
      redraw(changes);
    } else if (store.current && changes.runs.has(store.current.id)) {
      timer ||= setTimeout(redraw, LIVE_PAUSE_MS);
    }
  });
}

async function copyLink() {
  const address = addressOfStep();
  if (address) await copyText(address);
}

/** The text before and behind the step, with the step's own tokens marked. */
function textAround() {
  const { current: run, step } = store;
  if (!run || !step) return [];
  const end = step.firstToken + step.committed.token_ids.length;
  const start = Math.max(0, step.firstToken - BEFORE_TOKENS);
  const text = (/** @type {number} */ from, /** @type {number} */ to) =>
    run.tokens
      .slice(from, to)
      .map((token) => token.text)
      .join("");
  return [
    start ? "…" : "",
    text(start, step.firstToken),
    ...run.tokens
      .slice(step.firstToken, end)
      .map((token) => h("span", { class: `token ${token.source}` }, token.text || run.textOf(token.id))),
    text(end, end + AFTER_TOKENS),
    end + AFTER_TOKENS < run.tokens.length ? "…" : "",
  ];
}
