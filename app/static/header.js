// The name of the page, and the switch between light and dark.

import { h } from "./dom.js";

const KEY = "specdecodes-theme";

export function mount({ element }) {
  const stored = localStorage.getItem(KEY);
  if (stored) document.body.classList.toggle("dark", stored === "dark");
  element.append(
    h(
      "h1",
      {},
      h("span", { class: "logo", "aria-hidden": "true" }, h("i"), h("i"), h("i")),
      "SpecDecodes",
    ),
    h("p", { class: "tagline" }, "speculative decoding, token by token"),
    h("button", {
      type: "button",
      class: "theme-switch",
      title: "Light or dark",
      "aria-label": "Switch between light and dark",
      onclick: () => {
        const isDark = document.body.classList.toggle("dark");
        localStorage.setItem(KEY, isDark ? "dark" : "light");
        window.dispatchEvent(new Event("themechange"));
      },
    }),
  );
}
