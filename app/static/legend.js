// What the colours mean, with live counts of the run that is shown.

import { h, setText } from "./dom.js";
import { store } from "./page.js";
import { REFUSED, SOURCES } from "./run_model.js";

const COLOR_MODES = [
  ["source", "Source"],
  ["target", "Target probability"],
  ["gap", "Draft/target gap"],
  ["time", "Time"],
];

/** @type {Record<string, string>} */
const HELP = {
  accepted: "Drafted, and the target agreed",
  remembered: "Drafted from earlier answers, and the target agreed",
  recovered: "The target's own token after a refusal",
  bonus: "The target's own token after everything was accepted",
  plain: "The target's own token where nothing was drafted",
  untold: "A server does not say whether it was drafted",
  rejected: "Drafted, and the target refused it",
  untested: "Drafted, but never judged",
};

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
      title: "What the colours mean",
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
    // Of servers alone.
    entries.untold.hidden = !store.current?.counts.untold;
    for (const [name, node] of Object.entries(counts)) {
      const isUnknown = Boolean(store.current?.server) && REFUSED.some((refused) => refused === name);
      setText(node, isUnknown ? "–" : (store.current?.counts[name] ?? 0).toLocaleString("en"));
    }
  });
}
