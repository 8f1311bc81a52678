import assert from "node:assert/strict";
import test from "node:test";

import { scrolled } from "../../../app/static/pan_zoom.js";
import { canFold, foldUntested } from "../../../app/static/tree_fold.js";

// The root, an accepted child with a refused and an untested one, a refused one with a branch, and the
// target's own token behind the accepted one.
const NODES = [
  [-1, "root"],
  [0, "accepted"],
  [0, "rejected"],
  [1, "rejected"],
  [1, "untested"],
  [2, "untested"],
  [5, "untested"],
  [2, "untested"],
  [1, "recovered"],
].map(([parent, state], node) => ({ node: node === 8 ? -1 : node, parent, state, text: `t${node}`, weight: 0.5 }));

test("what was never judged becomes one node a parent, and parents are places in the new list", () => {
  const folded = foldUntested(NODES, new Set());
  assert.deepEqual(
    folded.map(({ node, parent, text, folds }) => [node, parent, folds === undefined ? null : text]),
    [
      [0, -1, null],
      [1, 0, null],
      [2, 0, null],
      [3, 1, null],
      [4, 1, null], // a fold of one would save nothing
      [5, 2, "+3 untested"],
      [-1, 1, null],
    ],
  );
  assert.equal(folded[5].folds, 2);
});

test("an opened parent shows its branches, with their own parents", () => {
  assert.deepEqual(foldUntested(NODES, new Set([2])), NODES);
});

test("only trees with more than one untested node below a parent can fold", () => {
  assert.equal(canFold(NODES), true);
  assert.equal(canFold(NODES.slice(0, 5)), false);
});

test("a wheel stops at the ends of a drawing, and does nothing where all is seen", () => {
  assert.equal(scrolled(0, 100, 300, 500), -100);
  assert.equal(scrolled(-150, 100, 300, 500), -200);
  assert.equal(scrolled(-150, -400, 300, 500), 0);
  assert.equal(scrolled(0, 100, 300, 200), 0);
  // Where a hand has moved it beyond an end, a wheel only brings it back.
  assert.equal(scrolled(40, 100, 300, 200), 0);
  assert.equal(scrolled(40, -100, 300, 200), 40);
});
