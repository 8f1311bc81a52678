import assert from "node:assert/strict";
import test from "node:test";

import { Store } from "../../../app/static/store.js";
import { stepEvents } from "./run_model.test.mjs";

const STATUS = { phase: "running", text: "", done: 0, total: 0 };
const turn = (replaces = null) => ({ user: "Hi", mode: "ngram", replaces });
const message = (run, seq, events, { turn, ...more } = {}) =>
  JSON.stringify({
    ...{ run, seq, status: STATUS, events, ...more },
    ...(turn && { turn: { turn: run, after: null, ...turn } }),
  });

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

const started = (more) => ({ kind: "run_started", ...more });

/** A chat of two turns, whose first has a branch. */
function branchedStore() {
  const { store } = makeStore();
  store.receive(message("a", 0, stepEvents(1), { turn: turn() }));
  store.receive(message("b", 0, [], { turn: { ...turn(), after: "a" } }));
  store.receive(message("a2", 0, [], { turn: { ...turn(), turn: "a" } }));
  return store;
}

test("a new branch is shown in the place of its parent, without what followed upon that", () => {
  const store = branchedStore();
  assert.deepEqual(store.turns, ["a2"]);
  assert.deepEqual(
    store.branchesOf(store.runs.get("a")).map(({ id }) => id),
    ["a", "a2"],
  );
});

test("each branch has the turns that followed upon it", () => {
  const store = branchedStore();
  store.receive(message("c", 0, [], { turn: { ...turn(), after: "a2" } }));
  assert.deepEqual(store.turns, ["a2", "c"]);
  store.show("a");
  assert.deepEqual(store.turns, ["a", "b"]);
  store.show("c");
  assert.deepEqual(store.turns, ["a2", "c"]);
  store.select("b", 0);
  assert.deepEqual(store.turns, ["a", "b"]);
});

test("a selection within a branch that is not shown any more is let go", () => {
  const store = branchedStore();
  store.select("a", 0);
  store.show("a2");
  assert.equal(store.isPinned, false);
});

test("a retry keeps the other branches, and a hidden branch that is written keeps the page busy", () => {
  const store = branchedStore();
  store.receive(message("a3", 0, [], { turn: { ...turn("a2"), turn: "a" } }));
  store.show("a");
  assert.deepEqual([...store.runs.keys()], ["a", "b", "a3"]);
  assert.equal(store.isBusy, true);
});

test("a branch that was opened from elsewhere stands beside its parent, whichever comes first", () => {
  for (const order of [
    ["p", "q"],
    ["q", "p"],
  ]) {
    const { store } = makeStore();
    for (const id of order) {
      const facts = id === "p" ? { run_id: "P", parent: "" } : { run_id: "Q", parent: "P" };
      const given = { prefix_token_ids: [], prefix_texts: [], forked_at: id === "p" ? null : 0 };
      store.receive(message(id, 0, [started({ ...facts, ...given })], { turn: turn() }));
    }
    assert.equal(store.turns.length, 1);
    assert.equal(store.branchesOf(store.runs.get("p")).length, 2);
    assert.equal(store.runs.get("q").parent, store.runs.get("p"));
  }
});

test("a run whose earlier turn is not there follows upon the last one", () => {
  const { store } = makeStore();
  store.receive(message("a", 0, [], { turn: turn() }));
  store.receive(message("b", 0, [], { turn: { ...turn(), after: "gone" } }));
  assert.deepEqual(store.turns, ["a", "b"]);
});
