// What branches of an answer are called, where two of them part, and which runs they come from. Pure: no
// document, no state.

import { visible } from "./format.js";

/** @import { RunModel } from "./run_model.js" */
/** @import { KeptRun } from "./types.d.ts" */

/**
 * The index of the first token in which two answers differ; null where they agree as far as both go.
 *
 * @param {{ id: number }[]} own
 * @param {{ id: number }[]} other
 */
export function firstDifference(own, other) {
  const place = own.findIndex(({ id }, index) => index < other.length && other[index].id !== id);
  return place < 0 ? null : place;
}

/**
 * What the branches of an answer are called, in their order.
 *
 * @param {Pick<RunModel, "forkedAt" | "chosenText">[]} runs
 */
export function branchNames(runs) {
  let number = 0;
  return runs.map(({ forkedAt, chosenText }) => {
    if (forkedAt === null) return "main";
    number += 1;
    const place = chosenText ? ` at token ${forkedAt + 1}: ${visible(chosenText)}` : "";
    return `branch ${number}${place}`;
  });
}

/**
 * The runs that a branch was forked from, as far as they are kept, the first of them first, and the branch.
 *
 * @template {Pick<KeptRun, "trace_id" | "parent">} T
 * @param {T} run
 * @param {T[]} kept
 * @returns {T[]}
 */
export function lineage(run, kept) {
  const found = [run];
  for (;;) {
    const { parent } = found[0];
    const next = parent ? kept.find((each) => each.trace_id === parent && !found.includes(each)) : undefined;
    if (!next) return found;
    found.unshift(next);
  }
}
