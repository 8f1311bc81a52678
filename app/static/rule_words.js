// What an acceptance rule says of a token that it tested. Pure.

import { percent, visible } from "./format.js";

/** @import { Trial } from "./page_types.d.ts" */

/** @type {Record<string, (number: number) => string>} */
const NUMBERS = {
  signed: (number) => number.toFixed(2).replace("-", "\u2212"),
  percent,
};

/**
 * The rule's own sentence for a tested token, with the token's numbers in its places.
 *
 * @param {Trial} trial
 */
export function trialText({ sentences, isKept, own, target, noise, threshold }) {
  const { told, untold, impossible, kept, kept_untold: keptUntold } = sentences;
  const isUntold = threshold === undefined || (threshold === null && (isKept || !impossible));
  const refused = isUntold ? untold : threshold === null ? impossible : told;
  const sentence = isKept ? (isUntold ? keptUntold : kept) : refused;
  /** @type {Record<string, number | null | undefined>} */
  const values = { target, noise, threshold };
  return sentence.replace(/\{(\w+)(?::(\w+))?\}/g, (_, name, form) => {
    if (name === "own") return shown(own);
    const value = values[name];
    return typeof value === "number" ? NUMBERS[form](value) : "not recorded";
  });
}

/** @param {string | null} text */
const shown = (text) => (text === null ? "another token" : `“${visible(text)}”`);
