// A measure of a token from 0 to 1, for colouring. Pure.

/** @import { Token } from "./page_types.d.ts" */
/** @import { RunModel } from "./run_model.js" */

// Milliseconds a token that count as slow: several times a plain step of a small model.
const SLOW_MS = 60;

/**
 * 0 is unremarkable, 1 remarkable; null where a mode says nothing of the token.
 *
 * @param {RunModel} run
 * @param {Token} token
 * @param {string} mode
 */
export function heatOf(run, token, mode) {
  if (token.step < 0) return null;
  const step = run.steps[token.step];
  if (mode === "target") {
    const prob = token.node >= 0 ? step.verified.target_probs[token.node] : step.accepted.next_prob;
    return prob === null || prob === undefined ? null : 1 - prob;
  }
  if (mode === "gap") {
    if (token.node < 0) return null;
    const target = step.verified.target_probs[token.node];
    if (target === undefined) return null;
    return Math.abs(target - step.drafted.draft_probs[token.node]);
  }
  if (mode === "time") {
    const ms = (step.committed.step_s * 1e3) / step.committed.token_ids.length;
    const slow = run.plainMs ? 1.5 * run.plainMs : SLOW_MS;
    return Math.min(1, ms / slow);
  }
  return null;
}
