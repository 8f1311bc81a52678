import assert from "node:assert/strict";
import test from "node:test";

import { bars, ticks, totalOf } from "../../../app/static/bars.js";
import { StepRange, tell } from "../../../app/static/step_bars.js";

const step = (draft, tokens = 1) => ({
  times: { draft, verify: 10, settle: 1, other: 2, untold: 0 },
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

test("untouched it shows the whole growing run", () => {
  const range = new StepRange();
  assert.deepEqual(range.of(3), [0.5, 20.5]);
  assert.deepEqual(range.of(300), [0.5, 300.5]);
});

test("a zoom stays where it is while the run grows", () => {
  const range = new StepRange();
  range.zoom(100, 0.5, 50.5);
  const before = range.of(100);
  assert.equal(before[1] - before[0], 50);
  assert.deepEqual(range.of(200), before);
});

test("zooming keeps the step under the pointer in place", () => {
  const range = new StepRange();
  range.zoom(100, 0.5, 30);
  const [low, high] = range.of(100);
  assert.ok(Math.abs((30 - low) / (high - low) - (30 - 0.5) / 100) < 1e-9);
});

test("zooming out to the whole run follows it again", () => {
  const range = new StepRange();
  range.zoom(100, 0.5, 50);
  range.zoom(100, 4, 50);
  assert.equal(range.isOwn, false);
});

test("moving ends at the borders of the run", () => {
  const range = new StepRange();
  range.zoom(100, 0.5, 50);
  range.move(100, -1000);
  assert.deepEqual(range.of(100), [0.5, 50.5]);
  range.move(100, 1000);
  assert.deepEqual(range.of(100), [50.5, 100.5]);
});

test("a selected step outside the view is brought in", () => {
  const range = new StepRange();
  range.zoom(100, 0.2, 0.5);
  range.reveal(60);
  assert.deepEqual(range.of(100), [40.5, 60.5]);
});

test("a step is told with its gain over plain decoding", () => {
  const step = {
    number: 3,
    times: { draft: 1, verify: 17, settle: 1, other: 1, untold: 0 },
    committed: { token_ids: [1, 2] },
  };
  const run = { steps: [step], plainMs: 20, turn: { mode: "ngram" } };
  assert.equal(
    tell(run, step),
    "step 3: draft 1.0, verify 17.0, accept + commit 1.0, other 1.0 ms for 2 tokens, 2.0× plain decoding",
  );
});

test("a step of a server is told by its whole time alone", () => {
  const times = { draft: 0, verify: 0, settle: 0, other: 0, untold: 12 };
  const run = { steps: [{}], turn: { mode: "server" } };
  const step = { number: 2, times, committed: { token_ids: [1, 2] } };
  assert.equal(tell(run, step), "step 2: phases not told 12.0 ms for 2 tokens");
});
