// The gallery of presets: a card each, which starts the run.

import { h, onValue } from "./dom.js";

/** @import { ViewContext } from "./page_types.d.ts" */
/** @import { PresetCard, Presets } from "./types.d.ts" */

/** @param {ViewContext} context */
export function mount({ element, props, watch, trigger }) {
  onValue({ props, watch }, (json) => {
    /** @type {Presets} */
    const { presets } = JSON.parse(json);
    element.replaceChildren(
      h("h2", {}, "Runs worth seeing"),
      h("div", { class: "cards" }, ...presets.map((preset) => card(preset, trigger))),
    );
  });
}

/**
 * @param {PresetCard} preset
 * @param {ViewContext["trigger"]} trigger
 */
function card({ name, title, watch, mode, prompt, is_paired: isPaired }, trigger) {
  return h(
    "button",
    {
      type: "button",
      class: "example preset",
      "data-preset": name,
      onclick: () => trigger("select", { preset: name }),
    },
    h("strong", {}, title),
    h("span", { class: "watch" }, watch),
    h("span", { class: "prompt" }, prompt.split("\n")[0]),
    h("span", { class: "mode-badge" }, isPaired ? `${mode}, with its counterpart in Compare` : mode),
  );
}
