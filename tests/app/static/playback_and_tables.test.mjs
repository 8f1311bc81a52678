import assert from "node:assert/strict";
import test from "node:test";

import { verdictText } from "../../../app/static/compare_table.js";
import { heatOf } from "../../../app/static/heat.js";
import { stepAt } from "../../../app/static/playback_clock.js";
import { trialText } from "../../../app/static/rule_words.js";
import { trialOf } from "../../../app/static/run_model.js";

const ending = (t_end_s) => ({ committed: { t_end_s } });

test("the clock is in the last step that has ended", () => {
  const steps = [ending(0.1), ending(0.2), ending(0.4)];
  assert.deepEqual(
    [0, 0.1, 0.3, 9].map((seconds) => stepAt(steps, seconds)),
    [-1, 0, 1, 2],
  );
  assert.equal(stepAt([], 1), -1);
});

test("a verdict says where texts part and by how much", () => {
  assert.equal(verdictText({ divergence: null, num_compared: 20 }), "identical over 20 tokens");
  const divergence = {
    position: 4,
    reference_text: " a",
    other_text: " b",
    logit_gap: 0.0123,
    is_lower_bound: false,
  };
  assert.equal(verdictText({ divergence }), "parts at token 5: “·b” for “·a”, logit gap 0.012");
  assert.equal(verdictText({ refused: "Different prompts." }), "Different prompts.");
});

const RUN = {
  started: { config: { accept: "rejection", sampling: { do_sample: true } } },
  textOf: (id) => `w${id}`,
  plainMs: 20,
  steps: [
    {
      drafted: { token_ids: [0, 1, 2], parents: [-1, 0, 0], draft_probs: [1, 0.8, 0.4] },
      verified: { target_probs: [1, 0.2, 0.1] },
      accepted: {
        path: [],
        tested: [2, 1],
        next_token_id: 9,
        next_prob: 0.3,
        noises: [0.9, 0.6],
        thresholds: [null, 0.25],
      },
      committed: { token_ids: [9], step_s: 0.03 },
    },
  ],
};

const sentences = {
  told: "Noise {noise:signed} of {threshold:percent}; {own} had {target:percent}.",
  untold: "Nothing is told.",
  impossible: "Never.",
  kept: "Kept at {noise:percent} below {threshold:percent}.",
  kept_untold: "Kept.",
};
const RULED = { ...RUN, started: { explanation: sentences } };

test("a refused node tells its own noise and threshold in the sentences of its rule", () => {
  const why = trialOf(RULED, RUN.steps[0], 1);
  assert.deepEqual(why, { sentences, isKept: false, own: "w9", target: 0.2, noise: 0.6, threshold: 0.25 });
  assert.equal(trialText(why), "Noise 0.60 of 25%; “w9” had 20%.");
  assert.equal(trialText(trialOf(RULED, RUN.steps[0], 2)), "Never.");
});

test("a kept node tells by which numbers it was kept", () => {
  const accepted = { ...RUN.steps[0].accepted, path: [1] };
  assert.equal(trialText(trialOf(RULED, { ...RUN.steps[0], accepted }, 1)), "Kept at 60% below 25%.");
  const { noises, thresholds, ...untold } = accepted;
  assert.equal(trialText(trialOf(RULED, { ...RUN.steps[0], accepted: untold }, 1)), "Kept.");
});

test("a trace without noises says no number", () => {
  const { noises, thresholds, ...accepted } = RUN.steps[0].accepted;
  const why = trialOf(RULED, { ...RUN.steps[0], accepted }, 1);
  assert.equal(why.noise, undefined);
  assert.equal(trialText(why), "Nothing is told.");
});

test("text of a model in a sentence is put in as it is", () => {
  const why = { sentences: { untold: "It was {own}." }, own: "{noise} $& <b>" };
  assert.equal(trialText(why), "It was “{noise}·$&·<b>”.");
});

test("colours measure what they say", () => {
  const own = { step: 0, node: -1 };
  const drafted = { step: 0, node: 1 };
  assert.equal(heatOf(RUN, own, "source"), null);
  assert.equal(heatOf(RUN, own, "target"), 0.7);
  assert.ok(Math.abs(heatOf(RUN, drafted, "gap") - 0.6) < 1e-9);
  assert.equal(heatOf(RUN, own, "gap"), null);
  assert.equal(heatOf(RUN, own, "time"), 1);
});
