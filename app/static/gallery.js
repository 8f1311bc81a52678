// More figures of a run, drawn by the server's own figure code; Plotly comes when it is opened.

import { h } from "./dom.js";
import { address, getJson, messageOf } from "./net.js";
import { store } from "./page.js";
import { drawFigure, loadPlotly } from "./plotly.js";

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
      const folder = `runs/${encodeURIComponent(run.id)}/figures`;
      grid.replaceChildren(
        ...Object.entries(figures).map(([name, figure]) =>
          figureOf(plotly, { name, figure, csv: address(`${folder}/${name}.csv`), revision: run.id }),
        ),
      );
    } catch (error) {
      hint.textContent = messageOf(error);
    }
  }

  panel.addEventListener("toggle", draw);
  window.addEventListener("themechange", draw);
  store.subscribe(draw);
}

/**
 * A figure with what can be downloaded of it; zoom stays while its `revision` does.
 *
 * @param {Plotly} plotly
 * @param {{ name: string, figure: { data: unknown, layout: object }, csv: string, revision: string }} given
 */
export function figureOf(plotly, { name, figure: { data, layout }, csv, revision }) {
  const place = h("div", { class: "figure-place" });
  const picture = () => plotly.downloadImage(place, { format: "png", width: 1000, height: 600, filename: name });
  requestAnimationFrame(() =>
    drawFigure(plotly, place, { data, layout: { ...layout, height: 320, uirevision: revision } }),
  );
  return h(
    "figure",
    { class: "gallery-figure", "data-name": name },
    place,
    h(
      "figcaption",
      {},
      csv ? h("a", { class: "download", href: csv, download: "" }, "CSV") : "",
      h("button", { type: "button", class: "download", onclick: picture }, "Picture"),
    ),
  );
}
