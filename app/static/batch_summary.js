// What a batch and its rows reach, in words. Pure: no document, no state.

import { counted, fixed, lossyMark } from "./format.js";

/** @import { RunModel } from "./run_model.js" */

/**
 * What all rows reach together; `seconds` are the server's, from the start of the batch on, if known.
 *
 * @param {Pick<RunModel, "tokens" | "steps" | "isEnded">[]} runs
 * @param {number} count
 * @param {number | null} seconds
 */
export function batchSummary(runs, count, seconds) {
  if (!count) return "";
  const tokens = runs.reduce((sum, run) => sum + run.tokens.length, 0);
  const steps = runs.reduce((sum, run) => sum + run.steps.length, 0);
  if (!steps) return counted(count, "row");
  const ended = runs.filter((run) => run.isEnded).length;
  const pace = seconds ? ` · ${fixed(tokens / seconds, 1)} tokens/s together` : "";
  return `${ended} of ${counted(count, "row")} done · ${counted(tokens, "token")}${pace} · τ ${fixed(tokens / steps, 2)}`;
}

/**
 * How far a row is, or how it ended.
 *
 * @param {Pick<RunModel, "status" | "isEnded" | "tokens" | "steps" | "lossyRule">} run
 */
export function rowSummary({ status, isEnded, tokens, steps, lossyRule }) {
  const words = isEnded || !tokens.length ? status.text : "";
  const count = tokens.length ? counted(tokens.length, "token") : "";
  const tau = steps.length ? `τ ${fixed(tokens.length / steps.length, 2)}` : "";
  return [lossyMark(lossyRule), words, count, tau].filter(Boolean).join(" · ");
}
