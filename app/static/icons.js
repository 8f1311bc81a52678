// Small line drawings for buttons.

import { svg } from "./dom.js";

const PATHS = {
  settings: "M2 4h6M12 4h2M2 12h2M8 12h6M8 4a2 2 0 1 0 4 0a2 2 0 1 0-4 0M4 12a2 2 0 1 0 4 0a2 2 0 1 0-4 0",
  theme: "M8 2a6 6 0 1 0 0 12zM8 2a6 6 0 0 1 0 12",
};

/** An icon that says nothing to screen readers; its button has the name. */
export function icon(name) {
  return svg("svg", { viewBox: "0 0 16 16", "aria-hidden": "true" }, svg("path", { d: PATHS[name] }));
}
