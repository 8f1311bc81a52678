import assert from "node:assert/strict";
import test from "node:test";

import { batchSummary, rowSummary } from "../../../app/static/batch_summary.js";

const run = (numTokens, numSteps, phase = "running", text = "") => ({
  tokens: Array(numTokens).fill({}),
  steps: Array(numSteps).fill({}),
  status: { phase, text },
  isEnded: phase === "ended" || phase === "failed",
});

test("a batch tells rows, tokens, pace and tau of all together", () => {
  const runs = [run(30, 10, "ended", "Complete"), run(10, 10)];
  assert.equal(batchSummary(runs, 3, 4), "1 of 3 rows done · 40 tokens · 10.0 tokens/s together · τ 2.00");
});

test("without a token yet it tells the rows alone", () => {
  assert.equal(batchSummary([run(0, 0)], 2, 1), "2 rows");
  assert.equal(batchSummary([], 0, 0), "");
});

test("a row tells what it waits for, how far it is, and how it ended", () => {
  assert.equal(rowSummary(run(0, 0, "queued", "1 ahead of you")), "1 ahead of you");
  assert.equal(rowSummary(run(6, 3)), "6 tokens · τ 2.00");
  assert.equal(rowSummary(run(6, 3, "failed", "It broke.")), "It broke. · 6 tokens · τ 2.00");
});

test("a row under a lossy rule says so first", () => {
  assert.equal(rowSummary({ ...run(6, 3), lossyRule: "typical" }), "lossy (typical) · 6 tokens · τ 2.00");
});
