import assert from "node:assert/strict";
import test from "node:test";

import { Store } from "../../../app/static/store.js";
import { stepEvents } from "./run_model.test.mjs";

const STATUS = { phase: "running", text: "", done: 0, total: 0 };
const turn = (replaces = null) => ({ user: "Hi", mode: "ngram", replaces });
const message = (run, seq, events, more = {}) => JSON.stringify({ run, seq, status: STATUS, events, ...more });

function makeStore() {
  const scheduled = [];
  const store = new Store((draw) => scheduled.push(draw));
  const drawNow = () => {
    for (const draw of scheduled.splice(0)) draw();
  };
  return { store, drawNow };
}

test("messages in order make a run", () => {
  const { store } = makeStore();
  store.receive(message("a", 0, stepEvents(1), { turn: turn() }));
  store.receive(message("a", 4, stepEvents(2)));
  assert.equal(store.current.steps.length, 2);
});

test("events that come twice count once", () => {
  const { store } = makeStore();
  store.receive(message("a", 0, stepEvents(1), { turn: turn() }));
  store.receive(message("a", 0, [...stepEvents(1), ...stepEvents(2)], { turn: turn() }));
  assert.equal(store.current.steps.length, 2);
});

test("a gap is filled by asking for what is missing", async () => {
  const { store } = makeStore();
  const asked = [];
  store.receive(message("a", 0, stepEvents(1), { turn: turn() }));
  store.ask = async (request) => {
    asked.push(request);
    return message("a", 4, [...stepEvents(2), ...stepEvents(3)]);
  };
  store.receive(message("a", 8, stepEvents(3)));
  await null;
  await null;
  assert.deepEqual(asked, ["a:4"]);
  assert.equal(store.current.steps.length, 3);
});

test("a retry takes the place of the run before", () => {
  const { store } = makeStore();
  store.receive(message("a", 0, [], { turn: turn() }));
  store.receive(message("b", 0, [], { turn: turn("a") }));
  store.receive(message("a", 0, stepEvents(1)));
  assert.deepEqual(store.turns, ["b"]);
});

test("views draw once for many changes", () => {
  const { store, drawNow } = makeStore();
  let draws = 0;
  store.subscribe(() => (draws += 1));
  store.receive(message("a", 0, stepEvents(1), { turn: turn() }));
  store.receive(message("a", 4, stepEvents(2)));
  drawNow();
  assert.equal(draws, 2);
});

test("the newest step is shown until one is selected, and again once let go", () => {
  const { store } = makeStore();
  store.receive(message("a", 0, [...stepEvents(1), ...stepEvents(2)], { turn: turn() }));
  assert.equal(store.step.number, 2);
  store.select("a", 0, 1);
  assert.equal(store.step.number, 1);
  assert.equal(store.token, 1);
  store.release();
  assert.equal(store.step.number, 2);
});

test("clear forgets the chat, and late messages of it as well", () => {
  const { store } = makeStore();
  store.receive(message("a", 0, stepEvents(1), { turn: turn() }));
  store.receive(JSON.stringify({ clear: 1 }));
  store.receive(message("a", 0, stepEvents(1), { turn: turn() }));
  assert.equal(store.current, null);
});
