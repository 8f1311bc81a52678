import assert from "node:assert/strict";
import test from "node:test";

import { branchNames, firstDifference, lineage } from "../../../app/static/branch_names.js";

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

test("a kept branch comes with the kept runs that it was forked from, the first one first", () => {
  const kept = (run_id, trace_id, parent = "") => ({ run_id, trace_id, parent });
  const main = kept("a", "1");
  const first = kept("b", "2", "1");
  const second = kept("c", "3", "2");
  const all = [second, kept("x", "9"), main, first];
  assert.deepEqual(lineage(second, all), [main, first, second]);
  assert.deepEqual(lineage(main, all), [main]);
  assert.deepEqual(lineage(second, [second, main]), [second], "one between them is gone");
  assert.deepEqual(lineage(kept("y", ""), [kept("import", "")]).length, 1, "no id is nobody's");
});

test("runs of files that name each other as parents end somewhere", () => {
  const one = { run_id: "a", trace_id: "1", parent: "2" };
  const other = { run_id: "b", trace_id: "2", parent: "1" };
  assert.deepEqual(lineage(one, [one, other]), [other, one]);
});
