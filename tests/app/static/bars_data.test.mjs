import assert from "node:assert/strict";
import test from "node:test";

import { bars, ticks, totalOf } from "../../../app/static/bars_data.js";

const step = (draft, tokens = 1) => ({
  times: { draft, verify: 10, settle: 1, other: 2 },
  committed: { token_ids: Array(tokens).fill(0) },
});

test("every step has a bar where there is room", () => {
  const made = bars([step(1, 3), step(2)]);
  assert.deepEqual(
    made.map(({ start, end, tokens }) => [start, end, tokens]),
    [
      [1, 1, 3],
      [2, 2, 1],
    ],
  );
  assert.equal(totalOf(made[0].times), 14);
});

test("neighbours share a bar with their mean where there is none", () => {
  const steps = Array.from({ length: 10 }, (_, index) => step(index + 1, 2));
  const made = bars(steps, 1, 10, 3);
  assert.deepEqual(
    made.map(({ start, end }) => [start, end]),
    [
      [1, 4],
      [5, 8],
      [9, 10],
    ],
  );
  assert.equal(made[0].times.draft, 2.5);
  assert.equal(made[0].tokens, 2);
});

test("borders of shared bars stay in place while the run grows", () => {
  const starts = (count) => bars(Array(count).fill(step(1)), 1, count, 4).map(({ start }) => start);
  assert.deepEqual(starts(15).slice(0, 3), starts(16).slice(0, 3));
});

test("only steps in the range have bars", () => {
  const made = bars(Array(100).fill(step(1)), 40.2, 44.9);
  assert.equal(made[0].start, 40);
  assert.equal(made.at(-1).end, 45);
});

test("ticks are round numbers from zero up to the top", () => {
  assert.deepEqual(ticks(23), [0, 10, 20]);
  assert.deepEqual(ticks(4.3, 4), [0, 2, 4]);
});
