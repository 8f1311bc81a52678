import assert from "node:assert/strict";
import test from "node:test";

import { explainStep, nodesOfPart, tellingStep } from "../../../app/static/explain.js";

// Root 0; 1 kept, 2 refused beside it; 3 refused behind 1; 4 never judged, behind 2.
const STEP = {
  number: 3,
  index: 2,
  firstToken: 5,
  drafted: {
    drafter: "sd-eagle",
    token_ids: [0, 1, 2, 3, 4],
    parents: [-1, 0, 0, 1, 2],
    depths: [0, 1, 1, 2, 2],
    draft_probs: [1, 0.3, 0.6, 0.5, 0.2],
    top_k_token_ids: [[2, 1], [], [], [], []],
    top_k_probs: [[0.6, 0.3], [], [], [], []],
  },
  verified: {
    num_rows: 5,
    target_probs: [1, 0.7, 0.2, 0.1, 0.4],
    top_k_token_ids: [[1], [9], [], [], []],
    top_k_probs: [[0.7], [0.55], [], [], []],
  },
  accepted: {
    path: [1],
    tested: [2, 1, 3],
    next_token_id: 9,
    next_source: "recovered",
    next_prob: 0.55,
    noises: [-0.5, 2, 0.25],
    thresholds: [1.5, 2, 3],
  },
  committed: { token_ids: [1, 9], nodes: [1, -1], sources: ["accepted", "recovered"], step_s: 0.02 },
  states: ["root", "accepted", "rejected", "rejected", "untested"],
  times: { draft: 2, verify: 7, settle: 0.6, other: 0.4 },
};
const SENTENCES = {
  told: "Noise {noise:signed}, needed {threshold:signed}.",
  untold: "Untold.",
  impossible: "Never.",
  kept: "Its noise was {noise:signed}.",
  kept_untold: "Kept, untold.",
};
const RUN = {
  textOf: (id) => `w${id}`,
  plainMs: 8,
  started: { explanation: SENTENCES, batch_size: 1 },
  steps: [],
  tokens: [],
};
const parts = explainStep(RUN, STEP);
const told = parts.map(({ sentences }) => sentences.join(" "));

test("a step is told from its root to its cost, one part for each node that was judged behind", () => {
  assert.deepEqual(
    parts.map(({ title }) => title),
    [
      "Step 3 begins",
      "The drafter proposes",
      "The target reads all of it in one pass",
      "The rule judges behind “w0”",
      "The rule judges behind “w1”",
      "What it gave, and what it cost",
    ],
  );
});

test("the draft and the pass are told with their numbers", () => {
  assert.match(told[1], /sd-eagle guesses 4 tokens in 2\.00 ms: a tree 2 tokens deep/);
  assert.match(told[1], /“w2” 60%, “w1” 30%/);
  assert.match(told[2], /4 drafts are 5 rows of one forward pass, in 7\.0 ms\. A pass over one token takes 8\.0 ms\./);
  assert.equal(parts[2].notes.get(3), "10%");
  assert.equal(parts[2].notes.has(0), false);
});

test("what was kept and refused is told in the order in which it was judged, by the rule's numbers", () => {
  assert.equal(
    told[3],
    "“w2” (20% to the target) is refused. Noise −0.50, needed 1.50. “w1” (70% to the target) is kept. Its noise was 2.00.",
  );
  assert.match(told[4], /“w3” \(10% to the target\) is refused\. Noise 0\.25, needed 3\.00\./);
  assert.match(told[4], /None was kept.*“w9”, to which it gives 55% \(recovered\)/);
});

test("the end tells what was emitted and the cost against plain decoding", () => {
  assert.match(told[5], /emits 2 tokens: 1 draft and one of the target's own\. 1 draft never had to be judged\./);
  assert.match(told[5], /It took 10\.0 ms: drafting 2\.0, the target's pass 7\.0, all else 1\.0\./);
  assert.match(told[5], /8\.0 ms a token, 16\.0 ms for these 2: so this step was 1\.60 times as fast/);
  const slow = explainStep({ ...RUN, plainMs: 2.5 }, STEP).at(-1).sentences[1];
  assert.match(slow, /so this step took 2\.00 times as long/);
  const unknown = explainStep({ ...RUN, plainMs: null }, STEP).at(-1).sentences[1];
  assert.match(unknown, /What plain decoding costs here is not known; /);
});

test("a bonus, a last token and numbers that were not recorded are told as such", () => {
  const accepted = { path: [1, 3], tested: [1, 3], next_token_id: 9, next_prob: null, noises: [], thresholds: [] };
  const verified = { num_rows: 5, target_probs: [], top_k_token_ids: [], top_k_probs: [] };
  const all = explainStep(RUN, { ...STEP, accepted, verified }).map(({ sentences }) => sentences.join(" "));
  assert.match(all[2], /not recorded/);
  assert.equal(all[3], "“w1” is kept. Kept, untold.");
  assert.equal(
    all[5],
    "No draft is left here: all on the path were kept, and the pass gives one token more, “w9” (bonus).",
  );
  const ended = explainStep(RUN, { ...STEP, accepted: { ...accepted, next_token_id: null } });
  assert.match(ended[5].sentences.at(-1), /ends the answer/);
});

test("a step without a draft is plain decoding", () => {
  const plain = {
    ...STEP,
    drafted: { ...STEP.drafted, drafter: "none", token_ids: [0], parents: [-1], depths: [0], draft_probs: [1] },
    accepted: { path: [], tested: [], next_token_id: 9, next_prob: 0.55 },
    committed: { token_ids: [9], nodes: [-1], sources: ["plain"] },
    states: ["root"],
  };
  const [, middle, end] = explainStep(RUN, plain);
  assert.match(middle.sentences[0], /one row, in 7\.0 ms, and gives “w9” with 55%, as plain decoding does/);
  assert.equal(end.sentences[1].includes("times as"), false);
});

test("a picture shows only what has been told by then", () => {
  const nodes = [
    ["root", -1, 0],
    ["accepted", 0, 1],
    ["rejected", 0, 2],
    ["rejected", 1, 3],
    ["untested", 2, 4],
    ["recovered", 1, -1],
  ].map(([state, parent, node]) => ({ state, parent, node, text: `w${node}`, weight: 1 }));
  const states = parts.map((part) => nodesOfPart(nodes, part).map(({ state }) => state));
  assert.deepEqual(states[0], ["root"]);
  assert.deepEqual(states[1], ["root", "proposed", "proposed", "proposed", "proposed"]);
  assert.deepEqual(states[3], ["root", "accepted", "rejected", "proposed", "proposed"]);
  assert.deepEqual(states[4], ["root", "accepted", "rejected", "rejected", "proposed", "recovered"]);
  assert.deepEqual(
    states[5],
    nodes.map(({ state }) => state),
  );
});

test("the most telling step keeps and refuses; without drafts there is none", () => {
  const plain = { accepted: { path: [] }, states: ["root"] };
  const refused = { accepted: { path: [] }, states: ["root", "rejected"] };
  assert.equal(tellingStep([plain, refused, STEP, refused]), STEP);
  assert.equal(tellingStep([plain]), null);
});
