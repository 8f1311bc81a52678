// Branches that were never judged, folded into one node a parent, so that what decided is seen. Pure.

/** @import { TreeNode } from "./page_types.d.ts" */

// A fold that hides a single node saves nothing.
const LEAST_FOLDED = 2;

/**
 * The nodes with the untested branches of each parent as one node in their place; those of the parents
 * in `opened` stay. Parents are places in the returned list.
 *
 * @param {TreeNode[]} nodes
 * @param {Set<number>} opened
 * @returns {TreeNode[]}
 */
export function foldUntested(nodes, opened) {
  // The judged parent that an untested node hangs below, itself of all others.
  const judged = nodes.map(({ state }, place) => (state === "untested" ? -1 : place));
  /** @type {Map<number, number>} */
  const counts = new Map();
  nodes.forEach(({ state, parent }, place) => {
    if (state !== "untested") return;
    judged[place] = judged[parent];
    counts.set(judged[place], (counts.get(judged[place]) ?? 0) + 1);
  });
  const isFolded = (/** @type {number} */ parent) => (counts.get(parent) ?? 0) >= LEAST_FOLDED && !opened.has(parent);
  /** @type {TreeNode[]} */
  const kept = [];
  /** @type {number[]} */
  const places = [];
  /** @type {Set<number>} */
  const folds = new Set();
  nodes.forEach((node, place) => {
    const parent = node.parent < 0 ? -1 : places[node.parent];
    if (node.state !== "untested" || !isFolded(judged[place])) {
      places[place] = kept.length;
      kept.push({ ...node, parent });
    } else if (!folds.has(judged[place])) {
      folds.add(judged[place]);
      const count = counts.get(judged[place]) ?? 0;
      kept.push({ ...node, parent, text: `+${count} untested`, weight: 0, folds: judged[place] });
    }
  });
  return kept;
}

/**
 * Whether anything can be folded.
 *
 * @param {TreeNode[]} nodes
 */
export function canFold(nodes) {
  return foldUntested(nodes, new Set()).length < nodes.length;
}
