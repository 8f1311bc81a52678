// The draft tree of the selected step, with the target's own token at the end of its path.

import { h, setText, svg } from "./dom.js";
import { counted, visible } from "./format.js";
import { store } from "./page.js";
import { PanZoom } from "./pan_zoom.js";
import { describeNode, describeToken, tokenOfNode, toldOf } from "./run_model.js";
import { hideCard, hideCardWithin, showCard } from "./token_card.js";
import { columnEdges, layoutTree, ROW_HEIGHT } from "./tree_layout.js";

/** @import { NodeState, Source, Step, ViewContext } from "./page_types.d.ts" */
/** @import { RunModel } from "./run_model.js" */

const CHARACTER_PX = 7.3;
const BOX_HEIGHT = 22;
const MAX_CHARACTERS = 16;
// While a run streams, the newest tree is drawn this often at most.
const LIVE_PAUSE_MS = 120;

/** @typedef {{ node: number, parent: number, text: string, state: NodeState | Source, weight: number }} TreeNode */

/** @type {PanZoom | null} */
let view = null;

/**
 * Zooms the drawing that is shown.
 *
 * @param {number} factor
 */
export function zoomTree(factor) {
  view?.zoom(factor);
}

/** Shows all of it again. */
export function fitTree() {
  view?.fit();
}

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
function shortened(text) {
  const shown = visible(text);
  return shown.length > MAX_CHARACTERS ? `${shown.slice(0, MAX_CHARACTERS - 1)}…` : shown;
}

/** @param {ViewContext} context */
export function mount({ element }) {
  const title = h("h3", {}, "Draft tree");
  const summary = h("span", { class: "summary" });
  const live = h(
    "button",
    { type: "button", class: "link", hidden: true, onclick: () => store.release() },
    "back to newest",
  );
  const group = svg("g");
  const image = svg("svg", { class: "tree", role: "group" }, group);
  const hint = h("p", { class: "hint" }, "The tree of a step appears here.");
  const fit = h("button", { type: "button", class: "link", onclick: fitTree }, "fit");
  const place = h("div", { class: "tree-place" }, image);
  element.append(h("div", { class: "panel-head" }, title, summary, live, fit), hint, place);
  let timer = 0;
  let size = { width: 1, height: 1 };
  view = new PanZoom(place, group, () => size);

  function draw() {
    timer = 0;
    const { current: run, step } = store;
    live.hidden = !store.isPinned;
    setText(summary, step ? describe(step) : "");
    image.setAttribute("aria-label", step ? `Draft tree: ${describe(step)}` : "No step yet");
    setText(hint, step?.observed ? "A server does not tell its draft trees." : "The tree of a step appears here.");
    hint.hidden = Boolean(step && !step.observed);
    hideCardWithin(group);
    const drawn = run && step && !step.observed ? drawTree(run, step) : { nodes: [], width: 1, height: 1 };
    group.replaceChildren(...drawn.nodes);
    size = { width: drawn.width, height: drawn.height };
    view?.refresh();
  }

  store.subscribe(({ chat, selection, runs }) => {
    if (chat || selection) {
      clearTimeout(timer);
      draw();
    } else if (!store.isPinned && store.current && runs.has(store.current.id)) {
      timer ||= setTimeout(draw, LIVE_PAUSE_MS);
    }
  });
}

/** @param {Step} step */
function describe({ number, drafted, accepted, observed }) {
  if (observed) return `step ${number}: ${toldOf(observed)}`;
  const count = drafted.token_ids.length - 1;
  if (!count) return `step ${number}: nothing drafted`;
  return `step ${number}: ${counted(count, "node")} of ${drafted.drafter}, ${accepted.path.length} accepted`;
}

/**
 * @param {RunModel} run
 * @param {Step} step
 */
function drawTree(run, step) {
  const nodes = treeNodes(run, step);
  const parents = nodes.map(({ parent }) => parent);
  const ownIndex = nodes.at(-1)?.node === -1 ? [nodes.length - 1] : [];
  const { places, numRows } = layoutTree(parents, [...step.accepted.path, ...ownIndex]);
  const labels = nodes.map(({ text }) => shortened(text));
  const widths = labels.map((label) => [...label].length * CHARACTER_PX + 14);
  const edges = columnEdges(places, widths);
  const x = (/** @type {number} */ place) => edges[places[place].column].left + 1;
  const y = (/** @type {number} */ place) => places[place].row * ROW_HEIGHT + 4;
  const end = edges[edges.length - 1];
  const width = end.left + end.width + 2;
  const height = numRows * ROW_HEIGHT + 4;
  /** @type {SVGElement[]} */
  const drawn = [];
  nodes.forEach((node, place) => {
    if (node.parent < 0) return;
    const from = [x(node.parent) + widths[node.parent], y(node.parent) + BOX_HEIGHT / 2];
    const to = [x(place), y(place) + BOX_HEIGHT / 2];
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
    drawn.push(drawNode(run, step, node, labels[place], x(place), y(place), widths[place]));
  });
  return { nodes: drawn, width, height };
}

/**
 * @param {RunModel} run
 * @param {Step} step
 * @param {TreeNode} node
 * @param {string} label
 * @param {number} x
 * @param {number} y
 * @param {number} width
 */
function drawNode(run, step, node, label, x, y, width) {
  const token = node.node === 0 ? null : tokenOfNode(run, step, node.node);
  const isSelected = token !== null && token.index === store.token;
  const facts = () => (node.node < 0 && token ? describeToken(run, token) : describeNode(run, step, node.node));
  return svg(
    "g",
    {
      class: `node ${node.state}${isSelected ? " selected" : ""}`,
      transform: `translate(${x},${y})`,
      onpointerenter: (event) => showCard(facts(), event.currentTarget),
      onpointerleave: hideCard,
      onfocus: (event) => showCard(facts(), event.currentTarget),
      onblur: hideCard,
      tabindex: "0",
      role: "button",
      "aria-label": `${node.text} ${node.state}`,
      onkeydown: (event) => event.key === "Enter" && event.currentTarget.dispatchEvent(new Event("click")),
      onclick: () => store.select(run.id, step.index, token?.index ?? null),
    },
    svg("rect", { width, height: BOX_HEIGHT, rx: 5 }),
    svg("text", { x: width / 2, y: 15, "text-anchor": "middle" }, label),
  );
}
