// Whether a model is there: one line, with a gauge while it loads.

import { h, onValue, setText } from "./dom.js";
import { bytes } from "./format.js";

export function mount({ element, props, watch }) {
  const text = h("span", { class: "status-text" });
  const gauge = h("span", { class: "gauge", hidden: true });
  element.setAttribute("role", "status");
  element.append(h("span", { class: "dot" }), text, gauge);
  onValue({ props, watch }, (json) => {
    const status = JSON.parse(json);
    element.dataset.phase = status.phase;
    const size = status.total > 1e6 ? ` ${bytes(status.done)} of ${bytes(status.total)}` : "";
    setText(text, status.text + size);
    gauge.hidden = status.total === 0 || status.phase !== "loading";
    gauge.style.setProperty("--share", status.total ? status.done / status.total : 0);
  });
}
