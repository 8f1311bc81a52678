// Plotly is big, so it is fetched when the first figure of its kind is wanted, once.

/** @import { Plotly } from "./page_types.d.ts" */

/** @type {Promise<Plotly> | null} */
let loading = null;

export function loadPlotly() {
  loading ??= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL("../plotly/plotly.min.js", import.meta.url).href;
    script.onload = () => resolve(window.Plotly);
    script.onerror = () => reject(new Error("The figures' code cannot be loaded; reload the page."));
    document.head.append(script);
  });
  return loading;
}

/** @type {WeakSet<HTMLElement>} */
const followed = new WeakSet();

/**
 * Draws a figure, which from then on is as wide as its place, also where that changes and the window stays.
 *
 * @param {Plotly} plotly
 * @param {HTMLElement} place
 * @param {{ data: unknown, layout: object }} figure
 */
export function drawFigure(plotly, place, { data, layout }) {
  plotly.react(place, data, layout, { displayModeBar: false });
  if (followed.has(place)) return;
  followed.add(place);
  new ResizeObserver(() => {
    if (place.offsetParent) plotly.Plots.resize(place); // one that is not shown has no width
  }).observe(place);
}
