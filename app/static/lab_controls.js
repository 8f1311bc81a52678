// The controls of the lab: choices, sliders, and the handles by which a curve is drawn.

import { h, setText } from "./dom.js";
import { handleMs, handlePlace } from "./lab_words.js";

/** @import { LabName } from "./types.d.ts" */

/**
 * A labelled choice; `name` without its prefix is what the server calls it.
 *
 * @param {string} words
 * @param {string} id
 * @param {LabName[]} [options]
 */
export function select(words, id, options = []) {
  const box = h("select", { id });
  /**
   * @param {LabName[]} names
   * @param {string} chosen
   */
  function fill(names, chosen) {
    const same = names.length === box.length && names.every(({ name }, place) => box.options[place].value === name);
    if (!same) box.replaceChildren(...names.map(({ name, words: text }) => h("option", { value: name }, text)));
    box.value = chosen;
  }
  if (options.length) fill(options, options[0].name);
  return { name: id.replace("lab-", ""), label: h("label", {}, words, box), value: () => box.value, fill };
}

/**
 * A slider from -20 to 20 with what its place means: a number, and the words for it.
 *
 * @param {string} words
 * @param {string} id
 * @param {(place: number) => number} meaning
 * @param {(value: number) => string} told
 */
export function slider(words, id, meaning, told) {
  const range = h("input", { type: "range", id, min: "-20", max: "20", value: "0" });
  const output = h("output", { for: id });
  function show() {
    const text = told(meaning(range.valueAsNumber));
    setText(output, text);
    range.setAttribute("aria-valuetext", text);
  }
  range.addEventListener("input", show);
  show();
  return {
    label: h("label", {}, h("span", {}, words, " ", output), range),
    value: () => meaning(range.valueAsNumber),
    reset() {
      range.value = "0";
      show();
    },
  };
}

/**
 * A curve of milliseconds by rows, as a handle for each: whoever moves one draws by hand.
 *
 * @param {() => void} moved
 */
export function curveHandles(moved) {
  const element = h("div", { class: "lab-handles", role: "group", "aria-label": "Milliseconds of a forward by rows" });
  /** @type {number[]} */
  let rows = [];
  /** @type {{ range: HTMLInputElement, output: HTMLOutputElement }[]} */
  let handles = [];

  /** @param {number} count */
  function handle(count) {
    const id = `lab-rows-${count}`;
    const range = h("input", { type: "range", id, class: "lab-handle", min: "0", max: "450" });
    const output = h("output", { for: id });
    range.addEventListener("input", () => {
      tell({ range, output });
      moved();
    });
    element.append(h("label", {}, output, range, h("span", {}, `${count}`)));
    range.setAttribute("aria-label", `Forward over ${count} ${count === 1 ? "row" : "rows"}`);
    return { range, output };
  }

  /** @param {{ range: HTMLInputElement, output: HTMLOutputElement }} one */
  function tell({ range, output }) {
    const ms = handleMs(range.valueAsNumber);
    setText(output, `${ms}`);
    range.setAttribute("aria-valuetext", `${ms} milliseconds`);
  }

  return {
    element,
    ms: () => handles.map(({ range }) => handleMs(range.valueAsNumber)),
    rows: () => rows,
    /**
     * @param {number[]} counts
     * @param {number[]} ms
     */
    show(counts, ms) {
      if (counts.join() !== rows.join()) {
        rows = counts;
        element.replaceChildren();
        handles = counts.map(handle);
      }
      handles.forEach((one, place) => {
        one.range.value = `${handlePlace(ms[place])}`;
        tell(one);
      });
    },
  };
}
