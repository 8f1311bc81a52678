import assert from "node:assert/strict";
import test from "node:test";
import {
  acceptanceOf,
  acceptanceWords,
  choiceWords,
  curveWords,
  exactness,
  handleMs,
  handlePlace,
  progressWords,
  ratioWords,
  timesOf,
  verdict,
} from "../../../app/static/lab_words.js";

const choice = (times_plain, tokens_per_s = 50 * times_plain) => ({
  words: "",
  settings: {},
  tokens_per_s,
  times_plain,
  tau: 2.345,
});
const drafter = (mode, best, slowest = 0.8, num_missing = 0) => ({
  mode,
  best: choice(best),
  given: choice(best),
  slowest: choice(slowest),
  num_missing,
});
const answer = (winner, ...drafters) => ({
  drafters,
  winner,
  plain_tokens_per_s: 50,
  num_tokens: 300,
  num_prompts: 2,
});

test("a choice tells its speed and its gain", () => {
  assert.equal(choiceWords(choice(1.2246, 61.23)), "61.2 (1.22×)");
  assert.equal(choiceWords(choice(2, 1234.5)), "1235 (2.00×)");
});

test("the verdict names the fastest and the next", () => {
  assert.equal(
    verdict(answer("b", drafter("a", 1.5), drafter("b", 2))),
    "b is fastest: 100 tokens/s, 2.00 times plain decoding (50.0 tokens/s). a is next, 25% slower.",
  );
  assert.match(verdict(answer("b", drafter("a", 1.99), drafter("b", 2))), /a is as fast, within 2%\.$/);
  assert.match(verdict(answer("a", drafter("a", 1.5))), /reach from 0\.80 to 1\.50 times\.$/);
  assert.match(verdict(answer("plain decoding", drafter("a", 1))), /^Drafting does not pay here/);
});

test("what is unknown is told", () => {
  assert.equal(exactness(answer("a", drafter("a", 2))), "300 tokens of 2 prompts; every step is that of a real run.");
  assert.match(exactness(answer("a", drafter("a", 2, 1, 3))), /; 3 nodes of a are unknown/);
});

test("progress counts the profile that is being made", () => {
  const going = { status: "ngram: 5 tokens", done: 1, total: 4, is_over: false };
  assert.equal(progressWords(going), "ngram: 5 tokens (2 of 4)");
  assert.equal(progressWords({ ...going, done: 4 }), "ngram: 5 tokens (4 of 4)");
  assert.equal(progressWords({ ...going, status: "Stopped", is_over: true }), "Stopped");
});

test("a ratio has its denominator, and a mark where that is small", () => {
  assert.equal(ratioWords(0.5, 30, 30), "0.50 of 30");
  assert.equal(ratioWords(0.5, 29, 30), "0.50 of 29 ?");
  assert.equal(ratioWords(null, 0, 30), "–");
});

test("a slider goes by factors and stands for once in its middle", () => {
  assert.deepEqual([-10, 0, 10, 20].map(timesOf), [0.25, 1, 4, 16]);
  assert.deepEqual([-20, -10, 0, 10].map(acceptanceOf), [0, 0.5, 1, 4]);
  assert.deepEqual([0.5, 1, 4].map(acceptanceWords), ["50% of hits stay", "as measured", "25% of misses stay"]);
});

test("handles stand on a scale of factors and say what the server reads", () => {
  assert.deepEqual([0.1, 1, 10].map(handlePlace), [0, 100, 200]);
  assert.deepEqual([0, 100, 130].map(handleMs), [0.1, 1, 2]);
  assert.equal(curveWords([1, 8], [10, 12.5]), "1:10,8:12.5");
});
