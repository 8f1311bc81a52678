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
