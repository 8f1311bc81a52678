// The draft tree of the selected step, with the target's own token at the end of its path.

import { h, setText, svg } from "./dom.js";
import { counted } from "./format.js";
import { store } from "./page.js";
import { PanZoom } from "./pan_zoom.js";
import { describeNode, describeToken, tokenOfNode, toldOf } from "./run_model.js";
import { hideCard, hideCardWithin, pinCard, showCard } from "./token_card.js";
import { drawTree, placeTree, treeNodes } from "./tree_drawing.js";
import { canFold, foldUntested } from "./tree_fold.js";

/** @import { Look, Step, TreeNode } from "./page_types.d.ts" */
/** @import { RunModel } from "./run_model.js" */

/** @returns {Look} */
export function treeLook() {
  const group = svg("g");
  const image = svg("svg", { class: "tree", role: "group" }, group);
  const place = h("div", { class: "tree-place", title: "Drag or scroll; Ctrl and wheel zoom" }, image);
  const fold = h("button", { type: "button", class: "link", hidden: true }, "fold");
  let size = { width: 1, height: 1 };
  /** What somebody chose; null folds where the whole tree could not be read. @type {boolean | null} */
  let isFolded = null;
  /** Judged nodes whose untested branches were asked for, of one step. @type {Set<number>} */
  let opened = new Set();
  /** @type {Step | null} */
  let shown = null;
  const view = new PanZoom(place, group, () => size);
  view.onRoom = redraw;

  function redraw() {
    const { current: run, step } = store;
    if (step !== shown) opened = new Set();
    shown = step;
    image.setAttribute("aria-label", step ? `Draft tree: ${describe(step)}` : "No step yet");
    hideCardWithin(group);
    if (run && step && !step.observed) return drawStep(run, step);
    fold.hidden = true;
    size = { width: 1, height: 1 };
    group.replaceChildren();
    view.refresh();
  }

  /**
   * @param {RunModel} run
   * @param {Step} step
   */
  function drawStep(run, step) {
    const whole = treeNodes(run, step);
    const { path } = step.accepted;
    const isFoldable = canFold(whole);
    let nodes = whole;
    let placed = placeTree(nodes, path);
    const { width, height } = view.readableRoom;
    const isTooLarge = placed.width > width || placed.height > height;
    const isFoldedNow = isFoldable && (isFolded ?? isTooLarge);
    if (isFoldedNow) {
      nodes = foldUntested(whole, opened);
      placed = placeTree(nodes, path);
    }
    fold.hidden = !isFoldable;
    setText(fold, isFoldedNow ? "unfold" : "fold");
    fold.title = isFoldedNow ? "Shows the branches that were never judged" : "Folds branches that were never judged";
    fold.onclick = () => {
      isFolded = !isFoldedNow;
      opened = new Set();
      redraw();
    };
    group.replaceChildren(...drawTree(nodes, placed.boxes, (node) => attributes(run, step, node)));
    size = placed;
    const chosen = store.token === null ? -1 : nodes.findIndex((node) => isSelected(run, step, node));
    view.refresh(placed.boxes[chosen]);
  }

  /**
   * @param {RunModel} run
   * @param {Step} step
   * @param {TreeNode} node
   */
  function attributes(run, step, node) {
    const parent = node.folds;
    if (parent === undefined) return nodeAttributes(run, step, node);
    return {
      class: "node folded",
      "aria-label": `${node.text} below ${run.textOf(step.drafted.token_ids[parent])}; show`,
      onclick: () => {
        opened.add(parent);
        redraw();
      },
    };
  }

  return {
    name: "tree",
    label: "Draft tree",
    help: "The draft tree of the selected step, and what became of each node",
    element: place,
    tools: [fold],
    zoom: (factor) => view.zoom(factor),
    fit: () => view.fit(),
    summary: () => (store.step ? describe(store.step) : ""),
    draw: redraw,
  };
}

/** @param {Step} step */
export function describe({ number, drafted, accepted, observed }) {
  if (observed) return `step ${number}: ${toldOf(observed)}`;
  const count = drafted.token_ids.length - 1;
  if (!count) return `step ${number}: nothing drafted`;
  return `step ${number}: ${counted(count, "node")} of ${drafted.drafter}, ${accepted.path.length} accepted`;
}

/**
 * The emitted token that a node of the drawing stands for; null for the root and what was not kept.
 *
 * @param {RunModel} run
 * @param {Step} step
 * @param {TreeNode} node
 */
function tokenOf(run, step, { node }) {
  return node === 0 ? null : tokenOfNode(run, step, node);
}

/**
 * @param {RunModel} run
 * @param {Step} step
 * @param {TreeNode} node
 */
function isSelected(run, step, node) {
  const token = node.folds === undefined ? tokenOf(run, step, node) : null;
  return token !== null && token.index === store.token;
}

/**
 * What a node of a step's tree is, tells and does.
 *
 * @param {RunModel} run
 * @param {Step} step
 * @param {TreeNode} node
 */
export function nodeAttributes(run, step, node) {
  const token = tokenOf(run, step, node);
  const facts = () => (node.node < 0 && token ? describeToken(run, token) : describeNode(run, step, node.node));
  const show = (/** @type {Event & { currentTarget: Element }} */ event) => showCard(facts(), event.currentTarget);
  return {
    class: `node ${node.state}${isSelected(run, step, node) ? " selected" : ""}`,
    "aria-label": `${node.text} ${node.state}`,
    onpointerenter: show,
    onpointerleave: hideCard,
    onfocus: show,
    onblur: hideCard,
    onclick: (/** @type {Event & { currentTarget: Element }} */ event) => {
      pinCard(facts(), event.currentTarget, !event.isTrusted);
      store.select(run.id, step.index, token?.index ?? null);
    },
  };
}
