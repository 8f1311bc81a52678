// Draws a tree of nodes as SVG: boxes with their tokens, joined by edges as wide as the drafter was sure.

import { svg } from "./dom.js";
import { visible } from "./format.js";
import { tokenOfNode } from "./run_model.js";
import { columnEdges, layoutTree, ROW_HEIGHT } from "./tree_layout.js";

/** @import { Box, Step, TreeNode } from "./page_types.d.ts" */
/** @import { RunModel } from "./run_model.js" */

const CHARACTER_PX = 7.3;
const BOX_HEIGHT = 22;
const MAX_CHARACTERS = 16;
// Below its box, where a number stands beside a token.
const NOTE_Y = 34;

/**
 * Nodes of the drawing: those of the tree, then the target's own token if there is one.
 *
 * @param {RunModel} run
 * @param {Step} step
 */
export function treeNodes(run, step) {
  const { drafted, accepted, states } = step;
  /** @type {TreeNode[]} */
  const nodes = drafted.token_ids.map((id, node) => ({
    node,
    parent: drafted.parents[node],
    text: run.textOf(id),
    state: tokenOfNode(run, step, node)?.source ?? states[node],
    weight: drafted.draft_probs[node] ?? 1,
  }));
  if (accepted.next_token_id !== null) {
    nodes.push({
      node: -1,
      parent: accepted.path.at(-1) ?? 0,
      text: run.textOf(accepted.next_token_id),
      state: accepted.next_source ?? "plain",
      weight: 1,
    });
  }
  return nodes;
}

/** @param {string} text */
export function shortened(text) {
  const shown = visible(text);
  return shown.length > MAX_CHARACTERS ? `${shown.slice(0, MAX_CHARACTERS - 1)}…` : shown;
}

/**
 * Where the boxes of nodes stand, and how large the whole is.
 *
 * @param {TreeNode[]} nodes
 * @param {number[]} path
 */
export function placeTree(nodes, path, rowHeight = ROW_HEIGHT) {
  const onPath = new Set(path);
  const straight = nodes.flatMap(({ node }, place) => (onPath.has(node) || node === -1 ? [place] : []));
  const parents = nodes.map(({ parent }) => parent);
  const { places, numRows } = layoutTree(parents, straight);
  const labels = nodes.map(({ text, folds }) => (folds === undefined ? shortened(text) : text));
  const widths = labels.map((label) => [...label].length * CHARACTER_PX + 14);
  const edges = columnEdges(places, widths);
  /** @type {Box[]} */
  const boxes = places.map(({ row, column }, place) => ({
    x: edges[column].left + 1,
    y: row * rowHeight + 4,
    width: widths[place],
    height: BOX_HEIGHT,
    label: labels[place],
  }));
  const end = edges[edges.length - 1];
  return { boxes, width: end.left + end.width + 2, height: (numRows - 1) * rowHeight + BOX_HEIGHT + 8 };
}

/**
 * The elements of a drawing, edges first. `attributes` are those of a node's group.
 *
 * @param {TreeNode[]} nodes
 * @param {Box[]} boxes
 * @param {(node: TreeNode) => import("./page_types.d.ts").Attributes} attributes
 */
export function drawTree(nodes, boxes, attributes) {
  /** @type {SVGElement[]} */
  const drawn = [];
  nodes.forEach((node, place) => {
    if (node.parent < 0) return;
    const parent = boxes[node.parent];
    const from = [parent.x + parent.width, parent.y + BOX_HEIGHT / 2];
    const to = [boxes[place].x, boxes[place].y + BOX_HEIGHT / 2];
    const bend = to[0] - 14;
    drawn.push(
      svg("path", {
        class: `edge ${node.state}`,
        d: `M${from} H${bend} C${bend + 7},${from[1]} ${bend + 7},${to[1]} ${to}`,
        "stroke-width": (0.8 + 2.4 * node.weight).toFixed(2),
      }),
    );
  });
  nodes.forEach((node, place) => {
    const { x, y, width, label } = boxes[place];
    const note = node.note ? [svg("text", { class: "note", x: width / 2, y: NOTE_Y }, node.note)] : [];
    drawn.push(
      svg(
        "g",
        {
          transform: `translate(${x},${y})`,
          tabindex: "0",
          role: "button",
          onkeydown: (event) => {
            if (event.key !== "Enter") return;
            event.preventDefault(); // or a button that takes the focus now would be pressed as well
            event.currentTarget.dispatchEvent(new Event("click"));
          },
          ...attributes(node),
        },
        svg("rect", { width, height: BOX_HEIGHT, rx: 5 }),
        svg("text", { x: width / 2, y: 15, "text-anchor": "middle" }, label),
        ...note,
      ),
    );
  });
  return drawn;
}
