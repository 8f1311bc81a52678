// The whole run as one picture: the text along the top, and every step's tree below it.

import { h } from "./dom.js";
import { counted } from "./format.js";
import { AXIS_PX, drawMap, LEAST_CELL_PX, rowHeight } from "./map_drawing.js";
import { CELL_STATES, MapLayout } from "./map_layout.js";
import { store } from "./page.js";
import { describeNode, describeToken, tokenOfNode } from "./run_model.js";
import { hideCard, showCard } from "./token_card.js";
import { select, zoom, zoomIdentity } from "./vendor/d3-zoom.js";

/** @import { Look } from "./page_types.d.ts" */
/** @import { Cell } from "./map_layout.js" */
/** @import { MapColors } from "./map_drawing.js" */
/** @import { D3ZoomEvent, ZoomBehavior } from "./vendor/d3-zoom.d.ts" */

// A column is at most so wide.
const MOST_PX = 110;
// One step fills so much of the picture, if its columns allow it.
const ONE_STEP_SHARE = 0.92;
const CLICK_PX = 4;
// A picture that has not moved for so long is drawn in full.
const SETTLE_MS = 120;

/** @returns {Look} */
export function mapLook() {
  const canvas = h("canvas", { class: "run-map", role: "img" });
  // What the card of a cell stands beside.
  const anchor = h("i", { class: "map-anchor" });
  /** @type {HTMLElement} */
  const place = h("div", { class: "map-place", title: "Wheel zooms, drag moves" }, canvas, anchor);
  const one = h("button", { type: "button", class: "link", title: "Zooms to the selected step" }, "this step");
  let layout = new MapLayout();
  let room = { width: 0, height: 0 };
  let at = zoomIdentity;
  let isOwn = false;
  let isWaiting = false;
  let isMoving = false;
  let settling = 0;
  /** @type {string | null} */
  let runId = null;
  /** @type {{ step: number, cell: Cell | null } | null} */
  let hovered = null;
  /** @type {MapColors | null} */
  let colors = null;

  const wholeScale = () => Math.min(MOST_PX, room.width / Math.max(layout.columns, 1));
  const rowPx = (/** @type {number} */ scale) => rowHeight(scale, room.height, layout.rows);
  /** @type {ZoomBehavior<HTMLElement, unknown>} */
  const behavior = zoom();
  behavior
    .clickDistance(CLICK_PX)
    .extent(() => [
      [0, 0],
      [room.width, room.height],
    ])
    // Nothing is moved beyond its ends.
    .constrain((to) => {
      const x = Math.min(0, Math.max(to.x, room.width - layout.columns * to.k));
      const y = Math.min(0, Math.max(to.y, room.height - AXIS_PX - layout.rows * rowPx(to.k)));
      return zoomIdentity.translate(x, y).scale(to.k);
    })
    .on("zoom", (/** @type {D3ZoomEvent<HTMLElement, unknown>} */ { transform, sourceEvent }) => {
      at = transform;
      if (sourceEvent) {
        isOwn = at.k > wholeScale() * 1.001;
        isMoving = true;
        clearTimeout(settling);
        settling = setTimeout(settle, SETTLE_MS);
      }
      paintSoon();
    });
  const seen = select(place).call(behavior).on("dblclick.zoom", null);

  function settle() {
    isMoving = false;
    paintSoon();
  }

  function paintSoon() {
    if (!isWaiting) requestAnimationFrame(paint);
    isWaiting = true;
  }

  function refresh() {
    const { current: run } = store;
    if (run?.id !== runId) {
      layout = new MapLayout();
      runId = run?.id ?? null;
      isOwn = false;
      hovered = null;
    }
    if (run) layout.update(run.steps);
    canvas.setAttribute("aria-label", `Map of the run: ${summary()}`);
    behavior.scaleExtent([wholeScale(), MOST_PX]);
    if (isOwn) reveal();
    else behavior.transform(seen, zoomIdentity.scale(wholeScale()));
    paintSoon();
  }

  /** Moves as little as shows the selected step. */
  function reveal() {
    const outline = store.isPinned && store.step ? layout.outlines[store.step.index] : null;
    if (!outline) return;
    const left = at.applyX(outline.start);
    const right = at.applyX(outline.start + outline.width);
    const shift = left < 0 ? -left : right > room.width ? Math.max(room.width - right, -left) : 0;
    if (shift) behavior.transform(seen, zoomIdentity.translate(at.x + shift, at.y).scale(at.k));
  }

  function paint() {
    isWaiting = false;
    const { current: run } = store;
    const context = canvas.getContext("2d", { alpha: false });
    if (!context || !room.width) return;
    const ratio = window.devicePixelRatio || 1;
    const [wide, high] = [Math.round(room.width * ratio), Math.round(room.height * ratio)];
    if (canvas.width !== wide || canvas.height !== high) [canvas.width, canvas.height] = [wide, high];
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    colors ??= colorsOf(place);
    drawMap(
      context,
      run,
      layout,
      { x: at.x, y: at.y, scale: at.k, ...room, rowPx: rowPx(at.k), isMoving },
      { step: store.isPinned ? (store.step?.index ?? null) : null, token: store.token, hovered },
      colors,
    );
  }

  /** @param {MouseEvent} event */
  function find(event) {
    const { current: run } = store;
    const box = canvas.getBoundingClientRect();
    const column = at.invertX(event.clientX - box.left);
    const index = layout.stepAt(column);
    if (!run || index < 0 || column > layout.columns) return null;
    const row = Math.floor((event.clientY - box.top - AXIS_PX - at.y) / rowPx(at.k));
    const inStep = Math.floor(column - layout.outlines[index].start);
    const cells = at.k < LEAST_CELL_PX ? [] : layout.cellsOf(run.steps[index]);
    return { step: index, cell: cells.find((cell) => cell.row === row && cell.column === inStep) ?? null };
  }

  /** @param {Cell} cell @param {number} step */
  function tokenOf(cell, step) {
    const { current: run } = store;
    return run ? tokenOfNode(run, run.steps[step], cell.node) : null;
  }

  place.addEventListener("pointermove", (event) => {
    const { current: run } = store;
    const found = event.buttons ? null : find(event);
    if (found?.step === hovered?.step && found?.cell === hovered?.cell) return;
    hovered = found;
    paintSoon();
    if (!found?.cell || !run) return hideCard();
    const { cell, step } = found;
    const x = at.applyX(layout.outlines[step].start + cell.column);
    anchor.style.transform = `translate(${x}px, ${AXIS_PX + at.y + cell.row * rowPx(at.k)}px)`;
    anchor.style.height = `${rowPx(at.k)}px`;
    const token = cell.node < 0 ? tokenOf(cell, step) : null;
    if (cell.node < 0 && !token) return hideCard();
    showCard(token ? describeToken(run, token) : describeNode(run, run.steps[step], cell.node), anchor);
  });
  place.addEventListener("pointerleave", () => {
    hovered = null;
    hideCard();
    paintSoon();
  });
  place.addEventListener("click", (event) => {
    const found = find(event);
    if (!found || !runId) return;
    store.select(runId, found.step, found.cell ? (tokenOf(found.cell, found.step)?.index ?? null) : null);
  });
  one.addEventListener("click", () => {
    const outline = store.step ? layout.outlines[store.step.index] : null;
    if (!outline) return;
    isOwn = true;
    const scale = Math.max(wholeScale(), Math.min(MOST_PX, (ONE_STEP_SHARE * room.width) / outline.width));
    const x = room.width / 2 - (outline.start + outline.width / 2) * scale;
    behavior.transform(seen, zoomIdentity.translate(x, 0).scale(scale));
    refresh();
  });
  window.addEventListener("themechange", () => {
    colors = null;
    paintSoon();
  });
  new ResizeObserver(([entry]) => {
    room = { width: entry.contentRect.width, height: entry.contentRect.height };
    if (room.width) refresh();
  }).observe(place);

  const summary = () => {
    const { current: run } = store;
    if (!run) return "";
    const drafted = run.stats?.num_drafted;
    const nodes = typeof drafted === "number" ? `, ${counted(drafted, "drafted node")}` : "";
    return `${counted(run.tokens.length, "token")} of ${counted(run.steps.length, "step")}${nodes}`;
  };

  return {
    name: "map",
    label: "Run map",
    help: "The whole run: its text along the top, and every step's tree below it",
    element: place,
    tools: [one],
    zoom: (factor) => {
      behavior.scaleBy(seen, factor);
      isOwn = at.k > wholeScale() * 1.001;
    },
    fit: () => {
      isOwn = false;
      refresh();
    },
    summary,
    draw: refresh,
  };
}

/**
 * @param {Element} element
 * @returns {MapColors}
 */
function colorsOf(element) {
  const style = getComputedStyle(element);
  const read = (/** @type {string} */ name) => style.getPropertyValue(`--${name}`).trim();
  return {
    states: CELL_STATES.map((state) => read(state === "plain" ? "quiet" : state)),
    text: read("text"),
    quiet: read("quiet"),
    line: read("line-strong"),
    panel: read("panel"),
    accent: read("accent"),
    font: style.fontFamily,
  };
}
