// The branches of an answer: which there are, which is shown, and two of them side by side.

import { branchNames, firstDifference } from "./branch_names.js";
import { showComparison } from "./compare_view.js";
import { h } from "./dom.js";
import { visible } from "./format.js";
import { getJson, messageOf } from "./net.js";
import { store } from "./page.js";
import { showTab } from "./tabs.js";

/** @import { RunModel } from "./run_model.js" */

// Of what two branches have in common, so much stands before the place where they part.
const COMMON_CHARACTERS = 160;

/** The bar above an answer that has branches, and the panel that compares them. */
export class Branches {
  /** @param {RunModel} run */
  constructor(run) {
    this.run = run;
    this._pills = h("span", { class: "pills" });
    this._compare = h(
      "button",
      { type: "button", class: "link", "aria-expanded": "false", onclick: () => this._toggle() },
      "compare",
    );
    this._panel = h("section", { class: "branches-beside", "aria-label": "Branches side by side", hidden: true });
    const bar = h("div", { class: "branches", role: "group", "aria-label": "Branches of this answer" });
    bar.append(this._pills, this._compare);
    this.element = h("div", { hidden: true }, bar, this._panel);
    this._drawn = "";
    this._compared = "";
    /** Id of the branch that stands beside this one. */
    this._other = "";
  }

  /** Draws what has changed. */
  update() {
    const runs = store.branchesOf(this.run);
    this.element.hidden = runs.length < 2;
    if (runs.length < 2) return;
    const names = branchNames(runs);
    const drawn = runs.map(({ id, isEnded }, place) => `${id} ${names[place]} ${isEnded}`).join("\n");
    if (drawn !== this._drawn) {
      this._drawn = drawn;
      this._pills.replaceChildren(...runs.map((run, place) => this._pill(run, names[place])));
    }
    if (!this._panel.hidden) this._drawPanel(runs, names);
  }

  /**
   * @param {RunModel} run
   * @param {string} name
   */
  _pill(run, name) {
    return h(
      "button",
      {
        type: "button",
        class: `pill${run.isEnded ? "" : " is-running"}`,
        "aria-pressed": String(run === this.run),
        onclick: () => showBranch(run.id),
      },
      name,
    );
  }

  _toggle() {
    this._panel.hidden = !this._panel.hidden;
    this._compare.setAttribute("aria-expanded", String(!this._panel.hidden));
    this._compared = "";
    this.update();
  }

  /**
   * @param {RunModel[]} runs
   * @param {string[]} names
   */
  _drawPanel(runs, names) {
    const others = runs.filter((run) => run !== this.run);
    const other = others.find(({ id }) => id === this._other) ?? others[0];
    const compared = `${other.id} ${names} ${this.run.tokens.length} ${other.tokens.length}`;
    if (compared === this._compared) return;
    this._compared = compared;
    const nameOf = (/** @type {RunModel} */ run) => names[runs.indexOf(run)];
    const place = firstDifference(this.run.tokens, other.tokens);
    const choose = h(
      "select",
      { class: "small-select", "aria-label": "Compared with", onchange: ({ target }) => this._choose(target.value) },
      ...others.map((run) => h("option", { value: run.id, selected: run === other }, nameOf(run))),
    );
    const figures = h(
      "button",
      { type: "button", class: "link", title: "Speeds and a race, in the tab Compare" },
      "figures",
    );
    figures.onclick = () => compareRuns([this.run.id, other.id]);
    this._panel.replaceChildren(
      h("p", { class: "parting", role: "status" }, partingText(this.run, other, place)),
      h("span", { class: "branches-tools" }, choose, figures),
      column(nameOf(this.run), this.run, place),
      column(nameOf(other), other, place),
    );
  }

  /** @param {string} id */
  _choose(id) {
    this._other = id;
    this.update();
  }
}

/**
 * @param {RunModel} own
 * @param {RunModel} other
 * @param {number | null} place
 */
function partingText(own, other, place) {
  if (place === null) return `They agree over ${Math.min(own.tokens.length, other.tokens.length)} tokens.`;
  const [left, right] = [own, other].map((run) => visible(run.textOf(run.tokens[place].id)));
  return `They part at token ${place + 1}: “${left}” and “${right}”.`;
}

/**
 * One answer, from a little before the place where it parts from the other.
 *
 * @param {string} name
 * @param {RunModel} run
 * @param {number | null} place
 */
function column(name, run, place) {
  const at = place ?? run.tokens.length;
  const text = (/** @type {number} */ from, /** @type {number} */ to) =>
    run.tokens
      .slice(from, to)
      .map((token) => token.text)
      .join("");
  const common = text(0, at);
  const cut = common.length > COMMON_CHARACTERS ? `…${common.slice(-COMMON_CHARACTERS)}` : common;
  const parted = run.tokens[at];
  const word = parted ? parted.text || run.textOf(parted.id) : "";
  return h(
    "article",
    {},
    h("h4", {}, name),
    h(
      "p",
      {},
      h("span", { class: "common" }, cut),
      /^ \S/.test(word) ? " " : "",
      parted ? h("mark", {}, /^ \S/.test(word) ? word.slice(1) : word) : "",
      text(at + 1, run.tokens.length),
      run.tailText,
    ),
  );
}

/**
 * Shows a branch of an answer in the chat; the focus stays on the bar.
 *
 * @param {string} id
 */
function showBranch(id) {
  store.show(id);
  // The bar of the other branch is there with the next frame.
  requestAnimationFrame(() =>
    requestAnimationFrame(() => {
      const pressed = document.querySelector(`.turn[data-run="${CSS.escape(id)}"] .pill[aria-pressed="true"]`);
      if (pressed instanceof HTMLElement) pressed.focus({ preventScroll: true });
    }),
  );
}

/** @param {string[]} ids */
async function compareRuns(ids) {
  try {
    showComparison(await getJson(`archive/compare.json?ids=${ids.map(encodeURIComponent).join(",")}`));
    showTab("compare");
  } catch (error) {
    store.tell(messageOf(error));
  }
}
