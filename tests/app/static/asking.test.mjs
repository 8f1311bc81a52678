import assert from "node:assert/strict";
import test from "node:test";
import { newestOnly } from "../../../app/static/asking.js";

/** Asks that end when they are told to. */
function slowAsks() {
  const waiting = [];
  return { waiting, ask: () => new Promise((resolve, reject) => waiting.push({ resolve, reject })) };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test("one question at a time, and behind it only the newest", async () => {
  const { waiting, ask } = slowAsks();
  let settled = 0;
  const soon = newestOnly(ask, () => settled++);
  for (let count = 0; count < 5; count++) soon();
  assert.equal(waiting.length, 1);
  waiting[0].resolve();
  await turn();
  assert.equal(waiting.length, 2);
  assert.equal(settled, 0, "another one was wanted");
  waiting[1].resolve();
  await turn();
  assert.equal(waiting.length, 2);
  assert.equal(settled, 1);
  soon();
  assert.equal(waiting.length, 3);
});

test("a question that fails does not stop the next", async () => {
  const { waiting, ask } = slowAsks();
  const soon = newestOnly(ask);
  const failing = soon();
  waiting[0].reject(new Error("gone"));
  await assert.rejects(failing, /gone/);
  soon();
  assert.equal(waiting.length, 2);
});
