// Which tab of the page is shown; the address remembers it. Every tab stays mounted.

import { frame } from "./frame.js";
import { parseLink } from "./run_link.js";

export const TABS = [
  { name: "playground", label: "Playground" },
  { name: "compare", label: "Compare" },
  { name: "batch", label: "Batch" },
  { name: "lab", label: "Lab" },
  { name: "runs", label: "Runs" },
  { name: "presets", label: "Presets" },
  { name: "models", label: "Models" },
];

/** @type {((name: string) => void)[]} */
const listeners = [];

/**
 * Calls back with the name of a tab when it is shown.
 *
 * @param {(name: string) => unknown} listener
 */
export function onTab(listener) {
  listeners.push(listener);
  const shown = frame().dataset.tab;
  if (shown) listener(shown);
}

/** @param {string} name */
export function showTab(name) {
  frame().dataset.tab = name;
  const isKept = name === "playground" && parseLink(location.hash);
  if (!isKept && location.hash.slice(1) !== name) history.replaceState(null, "", `#${name}`);
  for (const listener of listeners) listener(name);
}

/** The tab of the address, else the playground. */
export function restoreTab() {
  const wanted = location.hash.slice(1);
  showTab(TABS.some(({ name }) => name === wanted) ? wanted : "playground");
}
