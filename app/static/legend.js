// What the colours mean, with live counts of the run that is shown.

import { h, setText } from "./dom.js";
import { store } from "./page.js";
import { REFUSED, SOURCES } from "./run_model.js";

/** What an answer's tokens are coloured by, or its text without them. */
const COLOR_MODES = [
  ["source", "Source"],
  ["target", "Target probability"],
  ["gap", "Draft/target gap"],
  ["time", "Time"],
  ["markdown", "Markdown"],
];

/** @type {Record<string, string>} */
const HELP = {
  accepted: "Drafted, and the target agreed",
  remembered: "Drafted from earlier answers, and the target agreed",
  forced: "Drafted where the constraint allowed nothing else",
  recovered: "The target's own token after a refusal",
  bonus: "The target's own token after everything was accepted",
  plain: "The target's own token where nothing was drafted",
  untold: "A server does not say whether it was drafted",
  inherited: "Of the answer that this is a branch of",
  chosen: "Chosen for this branch, in place of the answer's own",
  rejected: "Drafted, and the target refused it",
  untested: "Drafted, but never judged",
};

/** Under a memory, under a constraint, of servers and of branches alone. */
const OF_SOME_RUNS = ["remembered", "forced", "untold", "inherited", "chosen"];

/** @param {HTMLElement} element */
export function mountLegend(element) {
  /** @type {Record<string, HTMLElement>} */
  const counts = {};
  /** @type {Record<string, HTMLElement>} */
  const entries = {};
  const entry = (/** @type {string} */ name) => {
    counts[name] = h("span", { class: "count", "data-count": name }, "0");
    const shown = h("span", { class: `token ${name}` }, name);
    entries[name] = h("span", { class: "legend-entry", title: HELP[name] }, shown, counts[name]);
    return entries[name];
  };
  const toggle = h("input", {
    type: "checkbox",
    id: "show-refused",
    onchange: (event) => store.setShowRefused(event.target.checked),
  });
  const colors = h(
    "select",
    {
      class: "small-select color-mode",
      title: "What the colours mean; Markdown shows the answer without its tokens",
      "aria-label": "Colours",
      onchange: ({ target }) => store.setColorMode(target.value),
    },
    ...COLOR_MODES.map(([value, label]) => h("option", { value }, label)),
  );
  element.append(
    h("div", { class: "legend-group" }, ...SOURCES.map(entry), ...REFUSED.map(entry)),
    h(
      "div",
      { class: "legend-group" },
      h("label", { class: "switch" }, toggle, h("span", { class: "knob" }), "refused"),
      colors,
    ),
  );
  store.subscribe(() => {
    toggle.checked = store.showRefused;
    const all = store.current?.counts ?? {};
    const hasAny = Object.values(all).some(Boolean);
    for (const name of OF_SOME_RUNS) entries[name].hidden = !all[name];
    for (const [name, node] of Object.entries(counts)) {
      const count = all[name] ?? 0;
      const isUnknown = Boolean(store.current?.server) && REFUSED.some((refused) => refused === name);
      setText(node, isUnknown ? "–" : hasAny ? count.toLocaleString("en") : "");
      // What an answer has none of would take the room of what it has.
      entries[name].classList.toggle("is-none", hasAny && !count && !isUnknown);
    }
  });
}
