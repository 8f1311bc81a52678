// The name of the page, and what changes its look: settings shown or not, light or dark.

import { h } from "./dom.js";
import { icon } from "./icons.js";

const THEME_KEY = "specdecodes-theme";
// Below this width the settings lie over the chat, so they wait to be called.
const ROOM_FOR_SETTINGS = "(min-width: 1181px)";

export function mount({ element }) {
  restoreTheme();
  const settings = iconButton("settings", "Settings", () => showSettings(!areSettingsShown()));
  const showSettings = (show) => {
    document.body.dataset.settings = show ? "open" : "closed";
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
      "SpecDecodes",
    ),
  );
  document.querySelector("#topbar").append(
    h("div", { class: "bar-tools" }, iconButton("theme", "Light or dark", switchTheme)),
  );
}

function areSettingsShown() {
  return document.body.dataset.settings === "open";
}

function iconButton(name, label, onclick) {
  return h(
    "button",
    { type: "button", class: "icon-button", title: label, "aria-label": label, onclick },
    icon(name),
  );
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
