// The bar at the top: name, tabs, and what changes the look of the page.

import { h } from "./dom.js";
import { frame } from "./frame.js";
import { icon } from "./icons.js";
import { mountShortcuts } from "./shortcuts.js";
import { onTab, restoreTab, showTab, TABS } from "./tabs.js";

/** @import { ViewContext } from "./page_types.d.ts" */

const THEME_KEY = "specdecodes-theme";
// Below this width the settings lie over the chat, so they wait to be called.
const ROOM_FOR_SETTINGS = "(min-width: 1181px)";

/** @param {ViewContext} context */
export function mount({ element }) {
  restoreTheme();
  const settings = iconButton("settings", "Settings", () => showSettings(!areSettingsShown()));
  const showSettings = (/** @type {boolean} */ show) => {
    frame().dataset.settings = show ? "open" : "closed";
    settings.setAttribute("aria-pressed", String(show));
  };
  const room = window.matchMedia(ROOM_FOR_SETTINGS);
  showSettings(room.matches);
  room.addEventListener("change", ({ matches }) => showSettings(matches));
  document.addEventListener("keydown", ({ key }) => {
    if (key === "Escape" && !room.matches) showSettings(false);
  });
  element.append(
    settings,
    h(
      "h1",
      {},
      h("span", { class: "logo", "aria-hidden": "true" }, h("i"), h("i"), h("i")),
      h("span", { class: "name" }, "SpecDecodes"),
    ),
    tabBar(),
  );
  document
    .querySelector("#topbar")
    ?.append(
      h(
        "div",
        { class: "bar-tools" },
        iconButton("help", "Keyboard shortcuts", mountShortcuts()),
        iconButton("theme", "Light or dark", switchTheme),
      ),
    );
  restoreTab();
}

function tabBar() {
  const buttons = TABS.map(({ name, label }) =>
    h("button", { type: "button", class: "tab-button", "data-tab": name, onclick: () => showTab(name) }, label),
  );
  onTab((shown) => {
    for (const button of buttons) {
      if (button.dataset.tab === shown) button.setAttribute("aria-current", "page");
      else button.removeAttribute("aria-current");
    }
  });
  return h("nav", { class: "tabs", "aria-label": "Tabs" }, ...buttons);
}

function areSettingsShown() {
  return frame().dataset.settings === "open";
}

/**
 * @param {Parameters<typeof icon>[0]} name
 * @param {string} label
 * @param {() => unknown} onclick
 */
function iconButton(name, label, onclick) {
  return h("button", { type: "button", class: "icon-button", title: label, "aria-label": label, onclick }, icon(name));
}

function restoreTheme() {
  const stored = localStorage.getItem(THEME_KEY);
  if (stored) document.body.classList.toggle("dark", stored === "dark");
}

function switchTheme() {
  const isDark = document.body.classList.toggle("dark");
  localStorage.setItem(THEME_KEY, isDark ? "dark" : "light");
  window.dispatchEvent(new Event("themechange"));
}
