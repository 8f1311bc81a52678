import assert from "node:assert/strict";
import test from "node:test";

import { rowHeight } from "../../../app/static/map_drawing.js";
import { CELL_STATES, GAP, MapLayout } from "../../../app/static/map_layout.js";

// Root 0; path 1, 2; 3 refused behind 2; 4 refused below the root, 5 untested behind it.
const STEP = {
  index: 0,
  drafted: { parents: [-1, 0, 1, 2, 0, 4], depths: [0, 1, 2, 3, 1, 2] },
  accepted: { path: [1, 2], next_token_id: 9, next_source: "recovered" },
  committed: { token_ids: [7, 8, 9], nodes: [1, 2, -1], sources: ["accepted", "remembered", "recovered"] },
  states: ["root", "accepted", "accepted", "rejected", "rejected", "untested"],
};
const PLAIN = {
  index: 1,
  drafted: { parents: [-1], depths: [0] },
  accepted: { path: [], next_token_id: 5, next_source: "plain" },
  committed: { token_ids: [5], nodes: [-1], sources: ["plain"] },
  states: ["root"],
};

test("a step is as wide as its tree is deep or its text is long, and as high as its tree has branches", () => {
  const layout = new MapLayout();
  layout.update([STEP, PLAIN]);
  assert.deepEqual(
    layout.outlines.map(({ start, width, rows, rejected, untested }) => [start, width, rows, rejected, untested]),
    [
      [0, 3, 3, 2, 1],
      [3 + GAP, 1, 1, 0, 0],
    ],
  );
  assert.equal(layout.rows, 3);
  layout.update([STEP, PLAIN]);
  assert.equal(layout.outlines.length, 2);
});

test("the text is the top row, and what was refused hangs below it", () => {
  const cells = new MapLayout().cellsOf(STEP);
  assert.deepEqual(
    cells.map(({ node, row, column, state }) => [node, row, column, CELL_STATES[state]]),
    [
      [1, 0, 0, "accepted"],
      [2, 0, 1, "remembered"],
      [3, 1, 2, "rejected"],
      [4, 2, 0, "rejected"],
      [5, 2, 1, "untested"],
      [-1, 0, 2, "recovered"],
    ],
  );
  const rows = new Set(cells.map(({ row }) => row)).size;
  const layout = new MapLayout();
  layout.update([STEP]);
  assert.equal(layout.outlines[0].rows, rows);
});

test("a column belongs to the step that begins before it", () => {
  const layout = new MapLayout();
  assert.equal(layout.stepAt(0), -1);
  layout.update([STEP, PLAIN]);
  assert.deepEqual(
    [-5, 0, 3.2, 3.4, 99].map((column) => layout.stepAt(column)),
    [0, 0, 0, 1, 1],
  );
});

test("rows fill the height, and a nearer look makes them taller", () => {
  assert.equal(rowHeight(1, 218, 20), 10);
  assert.equal(rowHeight(88, 218, 20), 22);
  assert.equal(rowHeight(1, 218, 1), 24);
  assert.equal(rowHeight(1, 100, 1000), 2);
});
