import assert from "node:assert/strict";
import test from "node:test";

import { columnEdges, layoutTree } from "../../../app/static/tree_layout.js";

test("the accepted path is a straight line at the top", () => {
  // Node 3 is accepted, though it stands behind its sibling.
  const { places } = layoutTree([-1, 0, 1, 0, 3], [3, 4]);
  assert.deepEqual(
    [0, 3, 4].map((node) => places[node]),
    [
      { row: 0, column: 0 },
      { row: 0, column: 1 },
      { row: 0, column: 2 },
    ],
  );
});

test("no two nodes stand in one place", () => {
  const parents = [-1, ...Array.from({ length: 63 }, (_, node) => Math.floor(node / 2))];
  const { places, numRows, numColumns } = layoutTree(parents, []);
  assert.equal(new Set(places.map(({ row, column }) => `${row}:${column}`)).size, 64);
  assert.equal(numColumns, 7);
  assert.ok(numRows <= 32);
});

test("columns are as wide as their widest text", () => {
  const edges = columnEdges([{ column: 0 }, { column: 1 }, { column: 1 }], [30, 10, 50]);
  assert.equal(edges[1].width, 50);
  assert.ok(edges[1].left > 30);
});
