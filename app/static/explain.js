// A step of a run told in parts, with the run's own numbers: what was proposed, what the target found,
// what the rule kept or refused and why, and what it gave and cost. Pure.

import { counted, duration, fixed, percent, visible } from "./format.js";
import { trialText } from "./rule_words.js";
import { trialOf } from "./run_model.js";

/** @import { Step, StepPart, TreeNode } from "./page_types.d.ts" */
/** @import { RunModel } from "./run_model.js" */

/** Whose drafts have a name of their own. @type {Record<string, string>} */
const DRAFTER_WORDS = {
  memory: "the memory of earlier answers",
  none: "nothing",
};
// Of the choices of a model, so many are told in a sentence.
const MOST_TOLD = 3;

/** @param {string} text */
const quoted = (text) => `“${visible(text)}”`;

/**
 * The parts of a step's story, in their order.
 *
 * @param {RunModel} run
 * @param {Step} step
 * @returns {StepPart[]}
 */
export function explainStep(run, step) {
  if (step.observed) return [];
  const numDrafted = step.drafted.token_ids.length - 1;
  const judged = [0, ...step.accepted.path].map((parent, place, path) =>
    judgedPart(run, step, parent, path[place + 1]),
  );
  const parts = numDrafted ? [rootPart(run, step), draftPart(run, step), passPart(run, step), ...judged] : [];
  if (!numDrafted) parts.push(rootPart(run, step), plainPart(run, step));
  return [...parts, endPart(run, step)];
}

/**
 * The nodes of a drawing as they are known in a part: what is not judged yet is a proposal, and what is
 * not there yet is left out.
 *
 * @param {TreeNode[]} nodes
 * @param {StepPart} part
 */
export function nodesOfPart(nodes, { shows, known, notes }) {
  const isThere = (/** @type {TreeNode} */ { node }) =>
    node === 0 || (node < 0 ? shows === "all" || known.has(node) : shows !== "root");
  // The target's own token is the last, so that places before it stay.
  return nodes.filter(isThere).map((node) => {
    const isKnown = shows === "all" || known.has(node.node) || node.node === 0;
    const state = isKnown ? node.state : "proposed";
    const text = node.folds !== undefined && !isKnown ? node.text.replace("untested", "more") : node.text;
    const note = node.folds === undefined ? notes.get(node.node) : undefined;
    return { ...node, state, text, ...(note ? { note } : {}) };
  });
}

/**
 * @param {RunModel} run
 * @param {Step} step
 * @returns {StepPart}
 */
function rootPart(run, { drafted, number, firstToken }) {
  const root = run.textOf(drafted.token_ids[0]);
  const behind = firstToken ? `The text so far has ${counted(firstToken, "token")}` : "The prompt has been read";
  return {
    title: `Step ${number} begins`,
    sentences: [
      `${behind}; its last one is ${quoted(root)}. It is the root: what is to be found is how the text goes on behind it.`,
      "Plain decoding would now run the whole target to get a single token.",
    ],
    shows: "root",
    known: new Set(),
    marked: [0],
    notes: new Map(),
  };
}

/**
 * @param {RunModel} run
 * @param {Step} step
 * @returns {StepPart}
 */
function draftPart(run, { drafted, times }) {
  const count = drafted.token_ids.length - 1;
  const depth = Math.max(...drafted.depths);
  const isChain = drafted.parents.every((parent, node) => parent === node - 1);
  const shape = isChain ? "a chain" : `a tree ${counted(depth, "token")} deep`;
  const who = DRAFTER_WORDS[drafted.drafter] ?? drafted.drafter;
  const first = drafted.parents.indexOf(0);
  const guess = `Its first guess is ${quoted(run.textOf(drafted.token_ids[first]))} with ${percent(drafted.draft_probs[first])}.`;
  return {
    title: "The drafter proposes",
    sentences: [
      `Without the target, ${who} guesses ${counted(count, "token")} in ${duration(times.draft / 1e3)}: ${shape}. Below each stands how sure it is behind the one before.`,
      choicesText(run, drafted, 0, "Most probable to it behind the root:") || guess,
    ],
    shows: "drafts",
    known: new Set(),
    marked: drafted.token_ids.slice(1).map((_, place) => place + 1),
    notes: numbersOf(drafted.draft_probs),
  };
}

/**
 * @param {RunModel} run
 * @param {Step} step
 * @returns {StepPart}
 */
function passPart(run, { drafted, verified, times }) {
  const count = drafted.token_ids.length - 1;
  const plain = run.plainMs === null ? "" : ` A pass over one token takes ${milliseconds(run.plainMs)}.`;
  const found = verified.target_probs.length
    ? `Below each draft stands the target's probability of it.${choicesText(run, verified, 0, ` Behind the root it finds most probable:`)}`
    : "Its probabilities were not recorded in this run.";
  return {
    title: "The target reads all of it in one pass",
    sentences: [
      `The root and ${counted(count, "draft")} are ${verified.num_rows} rows of one forward pass, in ${milliseconds(times.verify)}.${plain} Each row sees only the tokens on its own path, so it tells what the target would write next there.`,
      found,
    ],
    shows: "drafts",
    known: new Set(),
    marked: drafted.token_ids.map((_, node) => node),
    notes: numbersOf(verified.target_probs),
  };
}

/**
 * What the rule decided behind one node of the path; `next` is the child that it kept, if any.
 *
 * @param {RunModel} run
 * @param {Step} step
 * @param {number} parent
 * @param {number | undefined} next
 * @returns {StepPart}
 */
function judgedPart(run, step, parent, next) {
  const { drafted, accepted, verified } = step;
  const tested = accepted.tested.filter((node) => drafted.parents[node] === parent);
  const before = [0, ...accepted.path.slice(0, accepted.path.indexOf(parent) + 1)];
  const known = new Set(accepted.tested.filter((node) => before.includes(drafted.parents[node])));
  const sentences = tested.map((node) => {
    const trial = trialOf(run, step, node);
    const probability = trial.target === null ? "" : ` (${percent(trial.target)} to the target)`;
    const text = `${quoted(run.textOf(drafted.token_ids[node]))}${probability} is ${trial.isKept ? "kept" : "refused"}.`;
    return `${text} ${trialText(trial)}`.trim();
  });
  const marked = [parent, ...tested];
  if (next === undefined) {
    sentences.push(ownText(run, step, tested.length > 0));
    if (accepted.next_token_id !== null) {
      known.add(-1);
      marked.push(-1);
    }
  }
  return {
    title: `The rule judges behind ${quoted(run.textOf(drafted.token_ids[parent]))}`,
    sentences,
    shows: "drafts",
    known,
    marked,
    notes: numbersOf(verified.target_probs, new Set(tested)),
  };
}

/**
 * The target's own token at the end of the path, and where it comes from.
 *
 * @param {RunModel} run
 * @param {Step} step
 * @param {boolean} isRefused
 */
function ownText(run, { accepted }, isRefused) {
  const { next_token_id: id, next_prob: prob } = accepted;
  if (id === null) return "That token ends the answer, so the target adds none of its own.";
  const chance = prob === null ? "" : `, to which it gives ${percent(prob)}`;
  const own = `${quoted(run.textOf(id))}${chance}`;
  if (isRefused) return `None was kept, so the pass gives the target's own token here: ${own} (recovered).`;
  return `No draft is left here: all on the path were kept, and the pass gives one token more, ${own} (bonus).`;
}

/**
 * @param {RunModel} run
 * @param {Step} step
 * @returns {StepPart}
 */
function plainPart(run, { accepted, verified, times }) {
  const { next_token_id: id, next_prob: prob } = accepted;
  const chance = prob === null ? "" : ` with ${percent(prob)}`;
  const own = id === null ? "no token" : `${quoted(run.textOf(id))}${chance}`;
  return {
    title: "Nothing is drafted",
    sentences: [
      `Here the target runs over one row, in ${milliseconds(times.verify)}, and gives ${own}, as plain decoding does.${choicesText(run, verified, 0, " Most probable to it:")}`,
    ],
    shows: "all",
    known: new Set([-1]),
    marked: [-1],
    notes: new Map(),
  };
}

/**
 * @param {RunModel} run
 * @param {Step} step
 * @returns {StepPart}
 */
function endPart(run, step) {
  const { committed, states, times, accepted } = step;
  const num = committed.token_ids.length;
  const kept = committed.nodes.filter((node) => node > 0).length;
  const own = num - kept;
  const untested = states.filter((state) => state === "untested").length;
  const given =
    kept && own
      ? `${counted(kept, "draft")} and ${own === 1 ? "one" : own} of the target's own`
      : kept
        ? counted(kept, "draft")
        : "the target's own alone";
  const sentences = [`The step emits ${counted(num, "token")}: ${given}.`];
  if (untested) sentences[0] += ` ${counted(untested, "draft")} never had to be judged.`;
  if (accepted.path.length > kept) sentences[0] += " What stands behind the end of the answer is left out.";
  sentences.push(costText(run, times.draft + times.verify + times.settle + times.other, num, step));
  return {
    title: "What it gave, and what it cost",
    sentences,
    shows: "all",
    known: new Set(),
    marked: [...accepted.path, -1],
    notes: new Map(),
  };
}

/**
 * @param {RunModel} run
 * @param {number} totalMs
 * @param {number} num
 * @param {Step} step
 */
function costText(run, totalMs, num, { times, drafted }) {
  const spent = `It took ${milliseconds(totalMs)}: drafting ${fixed(times.draft, 1)}, the target's pass ${fixed(times.verify, 1)}, all else ${fixed(times.settle + times.other, 1)}.`;
  const others =
    (run.started?.batch_size ?? 1) > 1 ? " Other sequences ran beside it, whose rows are in these times." : "";
  if (drafted.token_ids.length === 1) return `${spent}${others}`;
  if (run.plainMs === null)
    return `${spent}${others} What plain decoding costs here is not known; a run whose trees are sized by cost measures it.`;
  const plainMs = run.plainMs * num;
  const factor = plainMs / totalMs;
  const verdict =
    factor >= 1
      ? `so this step was ${fixed(factor, 2)} times as fast`
      : `so this step took ${fixed(1 / factor, 2)} times as long`;
  return `${spent}${others} Plain decoding takes ${milliseconds(run.plainMs)} a token, ${milliseconds(plainMs)} for ${num === 1 ? "this one" : `these ${num}`}: ${verdict}.`;
}

/**
 * The best choices of a model behind a node, as it was recorded.
 *
 * @param {RunModel} run
 * @param {{ top_k_token_ids: number[][], top_k_probs: number[][] }} event
 * @param {number} node
 * @param {string} words
 */
function choicesText(run, { top_k_token_ids: ids, top_k_probs: probs }, node, words) {
  const told = (ids[node] ?? [])
    .slice(0, MOST_TOLD)
    .map((id, place) => `${quoted(run.textOf(id))} ${percent(probs[node][place])}`);
  return told.length ? `${words} ${told.join(", ")}.` : "";
}

/**
 * Probabilities below their nodes; the root has none.
 *
 * @param {number[]} probs
 * @param {Set<number>} [only]
 * @returns {Map<number, string>}
 */
function numbersOf(probs, only) {
  const told = probs.map((prob, node) => /** @type {[number, string]} */ ([node, percent(prob)]));
  return new Map(told.filter(([node]) => node && (!only || only.has(node))));
}

/** @param {number} ms */
const milliseconds = (ms) => `${fixed(ms, 1)} ms`;

/**
 * The step of a run that tells most: drafts kept and refused in one; null where nothing was drafted.
 *
 * @param {Step[]} steps
 */
export function tellingStep(steps) {
  const score = (/** @type {Step} */ { accepted, states }) => {
    const refused = states.filter((state) => state === "rejected").length;
    return Math.min(accepted.path.length, 4) * 2 + Math.min(refused, 2) * 3 - Math.max(0, states.length - 24) / 8;
  };
  const drafted = steps.filter(({ states }) => states.length > 1);
  return drafted.reduce(
    (best, step) => (best === null || score(step) > score(best) ? step : best),
    /** @type {Step | null} */ (null),
  );
}
