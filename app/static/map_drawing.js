// Draws the run map on a canvas: cells of tokens where they can be told apart, else outlines of steps.

import { visible } from "./format.js";
import { CELL_STATES } from "./map_layout.js";

/** @import { Step } from "./page_types.d.ts" */
/** @import { RunModel } from "./run_model.js" */
/** @import { Cell, MapLayout } from "./map_layout.js" */

/**
 * Where the picture stands. While it moves, only what was judged has its text: texts cost most.
 *
 * @typedef {{ x: number, y: number, scale: number, width: number, height: number, rowPx: number,
 *   isMoving: boolean }} MapView
 */
/** @typedef {{ states: string[], text: string, quiet: string, line: string, panel: string, accent: string, font: string }} MapColors */
/** @typedef {{ step: number | null, token: number | null, hovered: { step: number, cell: Cell | null } | null }} MapMarks */

export const AXIS_PX = 18;
// Narrower cells are drawn as outlines of their steps.
export const LEAST_CELL_PX = 1.5;
const LEAST_ROW_PX = 2;
const MOST_ROW_PX = 24;
const LINK_PX = 8;
const LABEL_PX = 36;
const LABEL_ROW_PX = 12;
const CHARACTER_PX = 6.7;
const TICK_PX = 70;
const LAST_TICK_PX = 36;
// Drafts that were never judged stand back.
const ALPHAS = [0.38, 0.75, 1, 1, 1, 1, 0.6];
const TINT = 0.2;
// The first two of the states, in their order.
const UNTESTED_OR_REJECTED = 1;

/**
 * Height of a row: all rows fit where they can, and a nearer look makes them taller.
 *
 * @param {number} scale
 * @param {number} height
 * @param {number} rows
 */
export function rowHeight(scale, height, rows) {
  const fitting = (height - AXIS_PX) / Math.max(rows, 1);
  return Math.min(MOST_ROW_PX, Math.max(LEAST_ROW_PX, fitting, scale / 4));
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {RunModel | null} run
 * @param {MapLayout} layout
 * @param {MapView} view
 * @param {MapMarks} marks
 * @param {MapColors} colors
 */
export function drawMap(context, run, layout, view, marks, colors) {
  const { width, height } = view;
  context.fillStyle = colors.panel;
  context.fillRect(0, 0, width, height);
  if (!run || !layout.outlines.length) return;
  const first = layout.stepAt(-view.x / view.scale);
  const last = layout.stepAt((width - view.x) / view.scale);
  band(context, layout, view, marks, colors);
  context.save();
  context.beginPath();
  context.rect(0, AXIS_PX, width, height - AXIS_PX);
  context.clip();
  if (view.scale < LEAST_CELL_PX) outlines(context, layout, view, first, last, colors);
  else cells(context, run, layout, view, first, last, marks, colors);
  context.restore();
  axis(context, run, layout, view, first, last, colors);
}

/**
 * The selected step stands on a band, and the one under the pointer has an edge.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {MapLayout} layout
 * @param {MapView} view
 * @param {MapMarks} marks
 * @param {MapColors} colors
 */
function band(context, layout, view, { step, hovered }, colors) {
  const place = (/** @type {number} */ index) => {
    const { start, width } = layout.outlines[index];
    const wide = Math.max(2, width * view.scale);
    const bottom = AXIS_PX + view.y + layout.rows * view.rowPx + 1;
    return [view.x + start * view.scale, 0.5, wide, Math.min(view.height - 1, bottom)];
  };
  if (step !== null && layout.outlines[step]) {
    const [x, y, wide, high] = place(step);
    context.globalAlpha = 0.14;
    context.fillStyle = colors.accent;
    context.fillRect(x - 1, y, wide + 2, high);
    context.globalAlpha = 1;
    context.strokeStyle = colors.accent;
    context.strokeRect(x - 1, y, wide + 2, high);
  }
  if (hovered && layout.outlines[hovered.step] && hovered.step !== step) {
    const [x, y, wide, high] = place(hovered.step);
    context.strokeStyle = colors.line;
    context.strokeRect(x - 1, y, wide + 2, high);
  }
}

/**
 * Steps that share a pixel are drawn as the mean of them.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {MapLayout} layout
 * @param {MapView} view
 * @param {number} first
 * @param {number} last
 * @param {MapColors} colors
 */
function outlines(context, layout, view, first, last, colors) {
  const { rowPx } = view;
  let index = first;
  while (index <= last) {
    const left = Math.floor(view.x + layout.outlines[index].start * view.scale);
    let [rows, rejected, untested, count, right] = [0, 0, 0, 0, left + 1];
    const { source } = layout.outlines[index];
    for (; index <= last; index += 1) {
      const step = layout.outlines[index];
      if (count && Math.floor(view.x + step.start * view.scale) > left) break;
      rows += step.rows;
      rejected += step.rejected;
      untested += step.untested;
      count += 1;
      right = Math.max(left + 1, Math.floor(view.x + (step.start + step.width) * view.scale));
    }
    const high = Math.max(0, (rows / count - 1) * rowPx);
    const refused = rejected + untested ? (high * rejected) / (rejected + untested) : 0;
    const top = AXIS_PX + view.y;
    fill(context, colors, source, left, top, right - left, rowPx - 0.5);
    fill(context, colors, 1, left, top + rowPx, right - left, refused);
    fill(context, colors, 0, left, top + rowPx + refused, right - left, high - refused);
  }
  context.globalAlpha = 1;
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {MapColors} colors
 * @param {number} state
 * @param {number} x
 * @param {number} y
 * @param {number} width
 * @param {number} height
 */
function fill(context, colors, state, x, y, width, height) {
  context.globalAlpha = ALPHAS[state];
  context.fillStyle = colors.states[state];
  context.fillRect(x, y, width, height);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {RunModel} run
 * @param {MapLayout} layout
 * @param {MapView} view
 * @param {number} first
 * @param {number} last
 * @param {MapMarks} marks
 * @param {MapColors} colors
 */
function cells(context, run, layout, view, first, last, marks, colors) {
  const { scale, rowPx, height } = view;
  const top = AXIS_PX + view.y;
  const hasLabels = scale >= LABEL_PX && rowPx >= LABEL_ROW_PX;
  const gap = scale > 6 ? Math.min(4, scale * 0.12) : 0;
  const rowGap = rowPx > 5 ? Math.min(4, rowPx * 0.2) : 0.5;
  const firstRow = Math.floor(-view.y / rowPx);
  const lastRow = Math.ceil((height - top) / rowPx);
  // By state, for a change of colour costs more than a cell.
  /** @type {number[][]} */
  const places = CELL_STATES.map(() => []);
  /** @type {{ x: number, y: number, cell: Cell, step: Step }[]} */
  const labelled = [];
  context.fillStyle = colors.line;
  for (let index = first; index <= last; index += 1) {
    const step = run.steps[index];
    const start = view.x + layout.outlines[index].start * scale;
    for (const cell of layout.cellsOf(step)) {
      if (cell.row < firstRow || cell.parentRow > lastRow) continue;
      // Whole pixels are drawn fastest.
      const x = Math.round(start + cell.column * scale);
      const y = Math.round(top + cell.row * rowPx);
      if (scale >= LINK_PX && cell.row !== cell.parentRow) {
        const from = Math.round(top + (cell.parentRow + 0.5) * rowPx);
        context.fillRect(Math.round(x - gap / 2), from, 1, Math.round(y + rowPx / 2) - from);
      }
      if (cell.row > lastRow) continue;
      places[cell.state].push(x, y);
      if (hasLabels && (cell.state || !view.isMoving)) labelled.push({ x, y, cell, step });
    }
  }
  const wide = Math.max(1, Math.round(scale - gap));
  const high = Math.max(1, Math.round(rowPx - rowGap));
  places.forEach((flat, state) => {
    context.fillStyle = colors.states[state];
    context.globalAlpha = hasLabels ? TINT : ALPHAS[state];
    for (let at = 0; at < flat.length; at += 2) context.fillRect(flat[at], flat[at + 1], wide, high);
  });
  context.globalAlpha = 1;
  if (hasLabels) labels(context, run, labelled, wide, high, colors);
  outline(context, run, layout, view, marks, wide, high, colors);
}

/**
 * @param {CanvasRenderingContext2D} context
 * @param {RunModel} run
 * @param {{ x: number, y: number, cell: Cell, step: Step }[]} labelled
 * @param {number} wide
 * @param {number} high
 * @param {MapColors} colors
 */
function labels(context, run, labelled, wide, high, colors) {
  const most = Math.max(1, Math.floor((wide - 6) / CHARACTER_PX));
  context.font = `11px ${colors.font}`;
  context.textBaseline = "middle";
  context.textAlign = "left";
  for (const { x, y, cell, step } of labelled) {
    const id = cell.node < 0 ? step.accepted.next_token_id : step.drafted.token_ids[cell.node];
    const text = id === null ? "" : visible(run.textOf(id));
    const shown = text.length > most ? `${text.slice(0, most - 1)}…` : text;
    context.fillStyle = colors.states[cell.state];
    // A form beside the colour: what was kept is underlined, what was refused struck through.
    if (cell.state > UNTESTED_OR_REJECTED) context.fillRect(x, y + high - 2, wide, 2);
    else if (cell.state) context.fillRect(x + 4, y + high / 2, shown.length * CHARACTER_PX, 1);
    if (cell.state > UNTESTED_OR_REJECTED) context.fillStyle = colors.text;
    context.fillText(shown, x + 4, y + high / 2);
  }
}

/**
 * Frames the selected token and the cell under the pointer.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {RunModel} run
 * @param {MapLayout} layout
 * @param {MapView} view
 * @param {MapMarks} marks
 * @param {number} wide
 * @param {number} high
 * @param {MapColors} colors
 */
function outline(context, run, layout, view, { step, token, hovered }, wide, high, colors) {
  context.strokeStyle = colors.accent;
  context.lineWidth = 1.5;
  const around = (/** @type {number} */ index, /** @type {Cell} */ cell) => {
    const x = view.x + (layout.outlines[index].start + cell.column) * view.scale;
    context.strokeRect(x, AXIS_PX + view.y + cell.row * view.rowPx, wide, high);
  };
  if (step !== null && token !== null) {
    const cell = layout.cellsOf(run.steps[step]).find(({ node }) => node === run.tokens[token].node);
    if (cell) around(step, cell);
  }
  if (hovered?.cell) around(hovered.step, hovered.cell);
  context.lineWidth = 1;
}

/**
 * Numbers of tokens along the text.
 *
 * @param {CanvasRenderingContext2D} context
 * @param {RunModel} run
 * @param {MapLayout} layout
 * @param {MapView} view
 * @param {number} first
 * @param {number} last
 * @param {MapColors} colors
 */
function axis(context, run, layout, view, first, last, colors) {
  context.fillStyle = colors.quiet;
  context.font = `11px ${colors.font}`;
  context.textBaseline = "middle";
  context.textAlign = "left";
  let free = 0;
  for (let index = first; index <= last; index += 1) {
    const x = view.x + layout.outlines[index].start * view.scale;
    if (x < free || x + LAST_TICK_PX > view.width) continue;
    context.fillText(String(run.steps[index].firstToken + 1), x + 1, AXIS_PX / 2 - 1);
    free = x + TICK_PX;
  }
}
