// More figures of a run, drawn by the server's own figure code; Plotly comes when it is opened.

import { h } from "./dom.js";
import { address, getJson, messageOf } from "./net.js";
import { store } from "./page.js";
import { loadPlotly } from "./plotly.js";

/** @import { Plotly, ViewContext } from "./page_types.d.ts" */

/** @param {ViewContext} context */
export function mount({ element }) {
  const grid = h("div", { class: "figure-grid" });
  const hint = h("p", { class: "hint", role: "status" });
  const panel = h("details", { class: "gallery" }, h("summary", {}, "More figures"), hint, grid);
  element.append(panel);
  let shown = "";

  async function draw() {
    const run = store.current;
    const isDark = document.body.classList.contains("dark");
    const wanted = run?.isEnded && run.steps.length ? `${run.id} ${isDark}` : "";
    if (!panel.open || wanted === shown) return;
    shown = wanted;
    if (!run || !wanted) {
      grid.replaceChildren();
      hint.textContent = "They are drawn when the run has ended.";
      return;
    }
    hint.textContent = "Drawing…";
    try {
      const theme = isDark ? "dark" : "light";
      const [plotly, figures] = await Promise.all([
        loadPlotly(),
        getJson(`runs/${encodeURIComponent(run.id)}/figures.json?theme=${theme}`),
      ]);
      if (wanted !== shown) return;
      hint.textContent = "";
      grid.replaceChildren(...Object.entries(figures).map(([name, figure]) => one(plotly, run.id, name, figure)));
    } catch (error) {
      hint.textContent = messageOf(error);
    }
  }

  panel.addEventListener("toggle", draw);
  window.addEventListener("themechange", draw);
  store.subscribe(draw);
}

/**
 * @param {Plotly} plotly
 * @param {string} runId
 * @param {string} name
 * @param {{ data: unknown, layout: object }} figure
 */
function one(plotly, runId, name, { data, layout }) {
  const place = h("div", { class: "figure-place" });
  const csv = address(`runs/${encodeURIComponent(runId)}/figures/${name}.csv`);
  const picture = () => plotly.downloadImage(place, { format: "png", width: 1000, height: 600, filename: name });
  requestAnimationFrame(() =>
    plotly.react(
      place,
      data,
      { ...layout, height: 320, uirevision: runId },
      { displayModeBar: false, responsive: true },
    ),
  );
  return h(
    "figure",
    { class: "gallery-figure", "data-name": name },
    place,
    h(
      "figcaption",
      {},
      h("a", { class: "download", href: csv, download: "" }, "CSV"),
      h("button", { type: "button", class: "download", onclick: picture }, "Picture"),
    ),
  );
}
