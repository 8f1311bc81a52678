import assert from "node:assert/strict";
import test from "node:test";
import { describeNode, describeToken, RunModel, tokenOfNode, toldOf } from "../../../app/static/run_model.js";
import { draftText } from "../../../app/static/token_card.js";

const NO_BRANCH = { prefix_token_ids: [], prefix_texts: [], forked_at: null };

/** Root, an accepted child, its rejected child, and a branch that was never judged. */
export function stepEvents(number, { emitted = [1, 4], path = [1], tested = [1, 2] } = {}) {
  const times = { step: number, t_start_s: number, t_end_s: number + 0.01 };
  return [
    {
      kind: "drafted",
      ...times,
      drafter: "scripted",
      token_ids: [0, 1, 2, 3],
      parents: [-1, 0, 1, 0],
      depths: [0, 1, 2, 1],
      draft_probs: [1, 0.9, 0.8, 0.1],
      top_k_token_ids: [[], [], [], []],
      top_k_probs: [[], [], [], []],
    },
    {
      kind: "verified",
      ...times,
      num_rows: 4,
      target_probs: [1, 0.7, 0.2, 0.05],
      top_k_token_ids: [
        [1, 3],
        [4, 2],
        [5, 6],
        [5, 6],
      ],
      top_k_probs: [
        [0.7, 0.05],
        [0.6, 0.2],
        [0.5, 0.5],
        [0.5, 0.5],
      ],
      entropies_nats: [1, 1, 1, 1],
    },
    {
      kind: "accepted",
      ...times,
      path,
      tested,
      next_token_id: emitted.at(-1),
      next_source: "recovered",
      next_prob: 0.6,
    },
    {
      kind: "committed",
      ...times,
      token_ids: emitted,
      texts: emitted.map((id) => ` w${id}`),
      sources: ["accepted", "recovered"],
      nodes: [1, -1],
      cache_length: 9,
      step_s: 0.05,
      node_states: ["root", "accepted", "rejected", "untested"],
      times_ms: { draft: 10, verify: 10, settle: 20, other: 10, untold: 0 },
    },
  ];
}

export function runOf(numSteps) {
  const run = new RunModel("r");
  run.apply({ kind: "run_started", ...NO_BRANCH, target: { forward_ms: { 1: 20 } } });
  run.apply({ kind: "token_texts", token_ids: [0, 1, 2, 3, 4], texts: ["w0", " w1", " w2", " w3", " w4"] });
  for (let number = 1; number <= numSteps; number += 1) {
    for (const event of stepEvents(number)) run.apply(event);
  }
  return run;
}

test("counts and text add up over steps", () => {
  const run = runOf(3);
  const counts = { accepted: 3, remembered: 0, forced: 0, recovered: 3, bonus: 0, plain: 0, rejected: 3, untested: 3 };
  assert.deepEqual(run.counts, { ...counts, untold: 0, inherited: 0, chosen: 0 });
  assert.equal(run.text, " w1 w4".repeat(3));
  assert.equal(run.plainMs, 20);
});

test("a token of the target has no draft probability and stands behind the path", () => {
  const run = runOf(1);
  const facts = describeToken(run, run.tokens[1]);
  assert.equal(facts.draftProb, null);
  assert.equal(facts.depth, 2);
  assert.equal(facts.targetProb, 0.6);
  assert.deepEqual(
    facts.alternatives.map(({ id, isChosen }) => [id, isChosen]),
    [
      [4, true],
      [2, false],
    ],
  );
});

test("a refused node tells both probabilities and the target's choices before it", () => {
  const run = runOf(1);
  const facts = describeNode(run, run.steps[0], 2);
  assert.equal(facts.source, "rejected");
  assert.equal(facts.draftProb, 0.8);
  assert.equal(facts.targetProb, 0.2);
  assert.deepEqual(
    facts.alternatives.map(({ id }) => id),
    [4, 2],
  );
});

test("what was kept of earlier answers is told apart, by its token and by its node", () => {
  const run = new RunModel("r");
  for (const event of stepEvents(1)) {
    run.apply(event.kind === "committed" ? { ...event, sources: ["remembered", "recovered"] } : event);
  }
  assert.equal(run.counts.remembered, 1);
  assert.equal(run.counts.accepted, 0);
  assert.equal(describeToken(run, run.tokens[0]).source, "remembered");
  assert.equal(describeNode(run, run.steps[0], 1).source, "remembered");
  assert.equal(describeNode(run, run.steps[0], 2).source, "rejected");
});

test("only accepted nodes have a token", () => {
  const run = runOf(1);
  assert.equal(tokenOfNode(run, run.steps[0], 1).index, 0);
  assert.equal(tokenOfNode(run, run.steps[0], 2), null);
});

test("an id without a text is told by its number", () => {
  assert.equal(runOf(1).textOf(77), "#77");
});

/** A step of a server that tells its counters: two accepted of three. */
function observedEvents(changes = {}) {
  const times = { step: 1, t_start_s: 1, t_end_s: 1.01 };
  return [
    {
      ...{ kind: "observed", ...times, border: "counters", num_tokens: 3, num_steps: 1 },
      ...{ num_drafted: 3, num_tested: 3, num_accepted: 2, with_prompt: false, target_probs: [0.9, 0.8, 0.7] },
      ...changes,
    },
    {
      ...{ kind: "committed", ...times, token_ids: [5, 6, -1], texts: ["a", "b", "c"], nodes: [-1, -1, -1] },
      ...{ sources: ["accepted", "accepted", "recovered"], cache_length: null, step_s: 0.02 },
      ...{ node_states: ["root"], times_ms: { draft: 0, verify: 0, settle: 0, other: 0, untold: 20 } },
    },
  ];
}

test("a step of a server has tokens and their sources, and no tree", () => {
  const run = new RunModel("r");
  for (const event of observedEvents()) run.apply(event);
  const [step] = run.steps;
  assert.equal(run.text, "abc");
  assert.equal(run.counts.accepted, 2);
  assert.deepEqual([run.counts.rejected, run.counts.untested], [0, 0]);
  assert.deepEqual(step.drafted.token_ids, []);
  assert.equal(toldOf(step.observed), "2 of 3 drafted accepted; the tree is not told");
  const facts = describeToken(run, run.tokens[1]);
  assert.deepEqual([facts.targetProb, facts.draftProb, facts.depth], [0.8, null, 2]);
  assert.equal(describeToken(run, run.tokens[2]).id, -1);
});

test("what a server does not tell of a step is told as unknown", () => {
  const told = (changes) => toldOf(observedEvents(changes)[0]);
  assert.equal(told({ border: "chunk", num_drafted: null }), "a chunk of the stream; its drafts are not told");
  assert.equal(told({ border: "none" }), "a piece of the text; the server tells no steps");
  assert.equal(told({ num_steps: 2, num_drafted: 0 }), "2 steps that came together, nothing drafted");
});

test("a server's totals that differ from its stream are told", () => {
  const run = new RunModel("r");
  assert.equal(run.server, "");
  run.apply({ kind: "run_started", ...NO_BRANCH, target: {}, server: { kind: "vllm", version: "0.32.0" } });
  assert.equal(run.server, "vllm 0.32.0");
  assert.equal(run.serverDifferences, "");
  run.apply({ kind: "server_totals", differences: [{ name: "num_tokens", told: 5, seen: 4 }] });
  assert.equal(run.serverDifferences, "num_tokens: it tells 5, its stream showed 4");
});

test("a drafted token of a server is not told to be no draft", () => {
  assert.equal(draftText({ draftProb: null, source: "accepted" }), "not told");
  assert.equal(draftText({ draftProb: null, source: "untold" }), "not told");
  assert.equal(draftText({ draftProb: null, source: "plain" }), "not drafted");
  assert.equal(draftText({ draftProb: 0.5, source: "accepted" }), "50%");
});

test("a branch begins with tokens of no step, which count for places in the answer", () => {
  const run = new RunModel("b");
  run.apply({ kind: "run_started", target: {}, prefix_token_ids: [7, 8], prefix_texts: ["a", "b"], forked_at: 1 });
  run.apply({ kind: "token_texts", token_ids: [8], texts: ["b"] });
  for (const event of stepEvents(1)) run.apply(event);
  assert.deepEqual(
    run.tokens.slice(0, 2).map(({ step, source, text }) => [step, source, text]),
    [
      [-1, "inherited", "a"],
      [-1, "chosen", "b"],
    ],
  );
  assert.equal(run.steps[0].firstToken, 2);
  assert.equal(run.text.slice(0, 2), "ab");
  assert.equal(run.chosenText, "b");
  const facts = describeToken(run, run.tokens[1]);
  assert.deepEqual([facts.step, facts.depth, facts.source, facts.fork], [0, 2, "chosen", null]);
});

test("an ended answer can go another way at each token and drafted node, by the path of its step", () => {
  const run = runOf(1);
  assert.equal(describeToken(run, run.tokens[0]).fork, null);
  run.status = { phase: "ended", text: "", done: 0, total: 0 };
  const [step] = run.steps;
  const node = step.states.indexOf("rejected");
  const { fork } = describeNode(run, step, node);
  const parent = step.drafted.parents[node];
  assert.equal(fork.isOwn, false);
  assert.equal(fork.position, step.firstToken);
  assert.equal(fork.path.length, step.drafted.depths[node] - 1);
  assert.equal(fork.path.at(-1), parent ? step.drafted.token_ids[parent] : undefined);
  assert.equal(describeNode(run, step, 0).fork, null);
});

/** A branch of a run, which begins with some tokens; those from `forkedAt` on were chosen. */
function branchOf(parent, ids, forkedAt) {
  const run = new RunModel("b");
  const texts = ids.map((id) => ` w${id}`);
  run.apply({ kind: "run_started", target: {}, prefix_token_ids: ids, prefix_texts: texts, forked_at: forkedAt });
  run.status = { phase: "ended", text: "", done: 0, total: 0 };
  run.parent = parent;
  return run;
}

test("a token that a branch took over has the choices that its parent recorded, and can be left there", () => {
  const branch = branchOf(runOf(2), [1, 4, 1, 2], 3);
  const [first, second] = branch.tokens.map((token) => describeToken(branch, token));
  assert.deepEqual([first.source, first.inParent], ["inherited", { step: 1, source: "accepted" }]);
  assert.deepEqual([first.targetProb, first.draftProb], [0.7, 0.9]);
  assert.deepEqual(
    first.alternatives.map(({ id, text, isChosen }) => [id, text, isChosen]),
    [
      [1, " w1", true],
      [3, " w3", false],
    ],
  );
  assert.deepEqual(first.fork, { run: "b", position: 0, path: [], place: 0, isOwn: true });
  assert.deepEqual(second.inParent, { step: 1, source: "recovered" });
  assert.deepEqual([second.targetProb, draftText(second)], [0.6, "not drafted"]);
});

test("a token that was chosen has the choices of its place, along the drafts that lead to it", () => {
  const branch = branchOf(runOf(2), [1, 4, 1, 2, 9], 3);
  const [chosen, beyond] = branch.tokens.slice(3).map((token) => describeToken(branch, token));
  assert.deepEqual(chosen.inParent, { step: 2, source: "rejected" });
  assert.deepEqual([chosen.targetProb, chosen.draftProb, chosen.fork.position], [0.2, 0.8, 3]);
  assert.deepEqual(beyond.inParent, { step: 2, source: null });
  assert.deepEqual(
    beyond.alternatives.map(({ id }) => id),
    [5, 6],
  );
  assert.deepEqual([beyond.targetProb, draftText(beyond)], [null, "not drafted"]);
  const apart = branchOf(runOf(2), [1, 4, 7, 8], 2);
  assert.deepEqual(describeToken(apart, apart.tokens[3]).alternatives, [], "nothing was drafted behind 7");
});

test("a branch of a branch asks the answer that recorded the place, and a circle of parents ends", () => {
  const run = runOf(2);
  const branch = branchOf(run, [1, 4, 1, 2], 3);
  const next = branchOf(branch, [1, 4, 9], 2);
  const [first, , chosen] = next.tokens.map((token) => describeToken(next, token));
  assert.deepEqual(first.inParent, { step: 1, source: "accepted" });
  assert.deepEqual(chosen.inParent, { step: 2, source: null });
  assert.equal(chosen.fork.position, 2);
  branch.parent = next;
  const facts = describeToken(next, next.tokens[0]);
  assert.deepEqual([facts.alternatives, facts.fork, draftText(facts)], [[], null, "not told"]);
});
