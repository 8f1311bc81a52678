import assert from "node:assert/strict";
import test from "node:test";

import { branchNames, firstDifference } from "../../../app/static/branch_names.js";

const tokens = (...ids) => ids.map((id) => ({ id }));

test("the first difference is of tokens, as far as both go", () => {
  assert.equal(firstDifference(tokens(1, 2, 3), tokens(1, 5, 3)), 1);
  assert.equal(firstDifference(tokens(1, 2), tokens(1, 2, 3)), null);
  assert.equal(firstDifference(tokens(1, 2, 3), tokens(1, 2)), null);
});

test("branches are named by the token at which they were forked", () => {
  const runs = [
    { forkedAt: null, chosenText: "" },
    { forkedAt: 16, chosenText: " cat" },
    { forkedAt: 0, chosenText: "" },
  ];
  assert.deepEqual(branchNames(runs), ["main", "branch 1 at token 17: ·cat", "branch 2"]);
});
