// The run as one long picture: where every step's tree stands below the text. Pure.
//
// A column is one token deep. A step takes as many as its tree is deep or as it emitted tokens, so that
// its text is the top row, its accepted path lies in it, and all other drafts hang below.

import { layoutTree } from "./tree_layout.js";

/** @import { Source, Step } from "./page_types.d.ts" */

/** Between two steps, in columns. */
export const GAP = 0.4;

/** What a cell can be, in the order in which they are drawn. */
export const CELL_STATES = /** @type {const} */ ([
  "untested",
  "rejected",
  "accepted",
  "remembered",
  "forced",
  "recovered",
  "bonus",
  "plain",
]);

/** @typedef {{ node: number, row: number, column: number, parentRow: number, state: number }} Cell */

/** A step as it is seen from far: how many rows, and what hangs in them. */
/** @typedef {{ start: number, width: number, rows: number, rejected: number, untested: number, source: number }} Outline */

/** @param {Source | Step["states"][number]} state */
const numberOf = (state) => {
  const found = CELL_STATES.indexOf(/** @type {typeof CELL_STATES[number]} */ (state));
  return found < 0 ? CELL_STATES.length - 1 : found; // a server does not say whether it was drafted
};

export class MapLayout {
  constructor() {
    /** @type {Outline[]} */
    this.outlines = [];
    this.columns = 0;
    this.rows = 1;
    /** Cells of the steps that were looked at. @type {Map<number, Cell[]>} */
    this._cells = new Map();
  }

  /**
   * Takes over the steps that came since.
   *
   * @param {Step[]} steps
   */
  update(steps) {
    for (let index = this.outlines.length; index < steps.length; index += 1) {
      const outline = outlineOf(steps[index], this.columns);
      this.outlines.push(outline);
      this.columns += outline.width + GAP;
      this.rows = Math.max(this.rows, outline.rows);
    }
  }

  /**
   * The step at a column, or the nearest one; -1 where there is none.
   *
   * @param {number} column
   */
  stepAt(column) {
    let low = 0;
    let high = this.outlines.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.outlines[middle].start <= column) low = middle + 1;
      else high = middle;
    }
    return Math.max(low - 1, Math.min(0, this.outlines.length - 1));
  }

  /**
   * The drafted nodes of a step and the target's own token (node -1), in columns of the step.
   *
   * @param {Step} step
   */
  cellsOf(step) {
    let cells = this._cells.get(step.index);
    if (!cells) {
      cells = cellsOf(step);
      this._cells.set(step.index, cells);
    }
    return cells;
  }
}

/**
 * @param {Step} step
 * @param {number} start
 * @returns {Outline}
 */
function outlineOf({ drafted, accepted, committed, states }, start) {
  const { parents, depths } = drafted;
  const hasChild = new Uint8Array(parents.length);
  for (const parent of parents) if (parent >= 0) hasChild[parent] = 1;
  // The target's own token stands in the row of the path if nothing drafted follows it there.
  const end = accepted.path.at(-1) ?? 0;
  const leaves = hasChild.reduce((sum, has) => sum + 1 - has, 0);
  const rows = leaves + (accepted.next_token_id !== null && hasChild[end] ? 1 : 0);
  let deepest = 0;
  let [rejected, untested] = [0, 0];
  for (let node = 1; node < parents.length; node += 1) {
    deepest = Math.max(deepest, depths[node]);
    if (states[node] === "rejected") rejected += 1;
    else if (states[node] === "untested") untested += 1;
  }
  return {
    start,
    width: Math.max(deepest, committed.token_ids.length, 1),
    rows: Math.max(rows, 1),
    rejected,
    untested,
    source: numberOf(committed.sources[0] ?? "plain"),
  };
}

/**
 * @param {Step} step
 * @returns {Cell[]}
 */
function cellsOf({ drafted, accepted, committed, states, observed }) {
  if (observed) return [];
  const parents = [...drafted.parents];
  const straight = [...accepted.path];
  if (accepted.next_token_id !== null) {
    straight.push(parents.length);
    parents.push(accepted.path.at(-1) ?? 0);
  }
  const { places } = layoutTree(parents, straight);
  /** @type {Cell[]} */
  const cells = [];
  for (let place = 1; place < parents.length; place += 1) {
    const isOwn = place === drafted.parents.length;
    const emitted = isOwn ? -1 : committed.nodes.indexOf(place);
    const state = isOwn ? (accepted.next_source ?? "plain") : emitted >= 0 ? committed.sources[emitted] : states[place];
    cells.push({
      node: isOwn ? -1 : place,
      row: places[place].row,
      column: places[place].column - 1,
      parentRow: places[parents[place]].row,
      state: numberOf(state),
    });
  }
  return cells;
}
