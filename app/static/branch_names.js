// What branches of an answer are called, and where two of them part. Pure: no document, no state.

import { visible } from "./format.js";

/** @import { RunModel } from "./run_model.js" */

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
