// Small line drawings for buttons.

import { svg } from "./dom.js";

const PATHS = {
  settings: "M2 4h6M12 4h2M2 12h2M8 12h6M8 4a2 2 0 1 0 4 0a2 2 0 1 0-4 0M4 12a2 2 0 1 0 4 0a2 2 0 1 0-4 0",
  help: "M6 6a2 2 0 1 1 3 1.8q-1 .6-1 1.7M8 12v.1M8 1.5a6.5 6.5 0 1 0 0 13a6.5 6.5 0 1 0 0-13",
  play: "M5 3l8 5l-8 5z",
  pause: "M5.5 3v10M10.5 3v10",
  back: "M10 3l-5 5l5 5",
  next: "M6 3l5 5l-5 5",
  enlarge: "M9.5 2.5h4v4M13.5 2.5l-4.5 4.5M6.5 13.5h-4v-4M2.5 13.5l4.5-4.5",
  shrink: "M13 7h-4v-4M9 7l4.5-4.5M3 9h4v4M7 9l-4.5 4.5",
  theme: "M8 2a6 6 0 1 0 0 12zM8 2a6 6 0 0 1 0 12",
};

/**
 * An icon that says nothing to screen readers; its button has the name.
 *
 * @param {keyof typeof PATHS} name
 */
export function icon(name) {
  return svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: PATHS[name] }));
}
