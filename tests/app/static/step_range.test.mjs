import assert from "node:assert/strict";
import test from "node:test";

import { StepRange } from "../../../app/static/step_range.js";

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
