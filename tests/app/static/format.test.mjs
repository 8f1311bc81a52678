import assert from "node:assert/strict";
import test from "node:test";

import { bytes, counted, duration, percent, visible } from "../../../app/static/format.js";

test("white space becomes visible", () => {
  assert.equal(visible(" a\n\tb"), "·a↵→b");
});

test("only certainty is written as 100%", () => {
  assert.equal(percent(1), "100%");
  assert.equal(percent(0.9999), "99.9%");
  assert.equal(percent(0.00001), "<0.01%");
  assert.equal(percent(0), "0%");
  assert.equal(percent(null), "–");
});

test("sizes and times are short", () => {
  assert.equal(duration(0.0021), "2.10 ms");
  assert.equal(duration(0.25), "250 ms");
  assert.equal(bytes(92_871_040), "92.9 MB");
  assert.equal(counted(1, "step"), "1 step");
  assert.equal(counted(2000, "step"), "2,000 steps");
});
