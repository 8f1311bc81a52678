// Stacked bars of every step's time, drawn by Plotly. Zoom and pan stay while the run grows.

import { bars, PHASES } from "./bars_data.js";
import { h, setText } from "./dom.js";
import { loadPlotly } from "./plotly.js";
import { store } from "./page.js";

// Drawing may take this share of the time, so that the tokens keep their frame rate.
const DRAW_SHARE = 0.05;
const MIN_PAUSE_MS = 250;

export function mount({ element }) {
  const plot = h("div", { class: "plot" });
  const hint = h("p", { class: "hint" });
  element.append(h("h3", {}, "Time of each step"), plot, hint);
  let plotly = null;
  let timer = 0;
  let shown = [];
  let range = null;
  let runId = null;

  function draw() {
    timer = 0;
    const run = store.current;
    const started = performance.now();
    if (run?.id !== runId) range = null;
    runId = run?.id ?? null;
    const steps = run?.steps ?? [];
    shown = bars(steps, ...(range ?? []));
    const gap = getComputedStyle(element).getPropertyValue("--page");
    plotly.react(plot, traces(shown, gap), layout(range, steps.length), {
      displayModeBar: false,
      responsive: true,
      scrollZoom: true,
    });
    const width = shown[0]?.width ?? 1;
    setText(hint, width > 1 ? `Each bar is the mean of ${width} steps; zoom in to part them.` : "");
    pause = Math.max(MIN_PAUSE_MS, (performance.now() - started) / DRAW_SHARE);
  }

  let pause = MIN_PAUSE_MS;
  function drawSoon(wait) {
    if (!plotly) return;
    if (wait === 0) {
      clearTimeout(timer);
      timer = 0;
    }
    timer ||= setTimeout(draw, wait);
  }

  function layout(range, numSteps) {
    const style = getComputedStyle(element);
    const read = (name) => style.getPropertyValue(name).trim();
    const selected = store.isPinned ? store.step?.number : null;
    const axis = { gridcolor: read("--line"), zeroline: false, fixedrange: true };
    return {
      barmode: "stack",
      bargap: 0.12,
      height: 190,
      margin: { l: 40, r: 4, t: 4, b: 34 },
      paper_bgcolor: "rgba(0,0,0,0)",
      plot_bgcolor: "rgba(0,0,0,0)",
      font: { family: read("font-family") || "sans-serif", size: 11, color: read("--quiet") },
      colorway: PHASES.map(({ key }) => read(`--phase-${key}`)),
      dragmode: "pan",
      hovermode: "x unified",
      hoverlabel: { bgcolor: read("--panel"), bordercolor: read("--line"), font: { color: read("--text") } },
      showlegend: true,
      legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom", traceorder: "normal", itemwidth: 30 },
      uirevision: runId,
      xaxis: {
        ...axis,
        fixedrange: false,
        title: { text: "step", standoff: 4 },
        range: range ?? [0.5, Math.max(numSteps, 20) + 0.5],
        showgrid: false,
      },
      yaxis: { ...axis, title: { text: "ms", standoff: 4 }, rangemode: "tozero" },
      shapes: selected
        ? [{ type: "rect", xref: "x", yref: "paper", x0: selected - 0.5, x1: selected + 0.5, y0: 0, y1: 1,
            line: { color: read("--text"), width: 1.5 }, layer: "above" }]
        : [],
    };
  }

  function connect() {
    plot.on("plotly_relayout", (change) => {
      const isReset = change["xaxis.autorange"];
      const from = change["xaxis.range[0]"] ?? change["xaxis.range"]?.[0];
      const to = change["xaxis.range[1]"] ?? change["xaxis.range"]?.[1];
      if (!isReset && from === undefined) return;
      range = isReset ? null : [from, to];
      drawSoon(60);
    });
    plot.on("plotly_doubleclick", () => {
      range = null;
      drawSoon(0);
    });
    plot.on("plotly_click", ({ points }) => {
      const bar = shown[points[0].pointIndex];
      if (bar) store.select(runId, bar.start - 1);
    });
  }

  store.subscribe(({ chat, selection, runs }) => {
    if (selection || chat) drawSoon(0);
    else if (store.current && runs.has(store.current.id)) drawSoon(pause);
  });
  window.addEventListener("themechange", () => drawSoon(0));
  loadPlotly().then((loaded) => {
    plotly = loaded;
    draw();
    connect();
  });
}

function traces(shown, gap) {
  const x = shown.map(({ middle }) => middle);
  const width = shown.map(({ width: steps }) => steps);
  const names = shown.map(({ start, end }) => (start === end ? `step ${start}` : `steps ${start}–${end}`));
  return PHASES.map(({ key, label }) => ({
    type: "bar",
    name: label,
    x,
    width,
    y: shown.map(({ times }) => times[key]),
    customdata: names,
    hovertemplate: "%{y:.2f} ms",
    marker: { line: { width: 0.6, color: gap } },
  }));
}
