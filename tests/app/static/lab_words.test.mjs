import assert from "node:assert/strict";
import test from "node:test";
import { choiceWords, exactness, timesOf, verdict } from "../../../app/static/lab_words.js";

const choice = (tokens_per_s, times_plain) => ({ words: "", settings: {}, tokens_per_s, times_plain, tau: 2.345 });
const answer = (best, slowest) => ({ plain_tokens_per_s: 50, best, slowest, num_missing: 0 });

test("a choice tells its speed, its gain and its tau", () => {
  assert.equal(choiceWords(choice(61.23, 1.2246)), "61.2 tokens/s, 1.22 times plain, τ 2.35");
  assert.equal(choiceWords(choice(1234.5, 2)), "1235 tokens/s, 2.00 times plain, τ 2.35");
});

test("the verdict is the range, or that drafting does not pay", () => {
  assert.match(verdict(answer(choice(75, 1.5), choice(40, 0.8))), /from 0\.80 to 1\.50 times plain decoding \(50\.0/);
  assert.match(verdict(answer(choice(50, 1), choice(40, 0.8))), /^Drafting does not pay here/);
});

test("what is unknown is told", () => {
  assert.equal(exactness({ num_missing: 0 }), "Every step is that of a real run.");
  assert.match(exactness({ num_missing: 3 }), /^3 nodes are unknown/);
});

test("a slider goes by factors and stands for once in its middle", () => {
  assert.deepEqual([-10, 0, 10, 20].map(timesOf), [0.25, 1, 4, 16]);
});
