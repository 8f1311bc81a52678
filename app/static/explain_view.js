// Walks through the selected step part by part: words, and the tree as far as they have told it.

import { h, setText, svg } from "./dom.js";
import { explainStep, nodesOfPart } from "./explain.js";
import { icon } from "./icons.js";
import { store } from "./page.js";
import { PanZoom } from "./pan_zoom.js";
import { hideCardWithin } from "./token_card.js";
import { drawTree, placeTree, treeNodes } from "./tree_drawing.js";
import { foldUntested } from "./tree_fold.js";
import { describe, nodeAttributes } from "./tree_view.js";

/** @import { Look, Step, StepPart } from "./page_types.d.ts" */
/** @import { RunModel } from "./run_model.js" */

// A number stands below each box.
const ROW_HEIGHT = 44;
// Larger trees are told with what was never judged folded.
const MOST_NODES = 16;
// While it plays, a part stays so long, and longer for each character.
const PART_MS = 2500;
const CHARACTER_MS = 28;
/** @type {Set<number>} */
const NONE_OPENED = new Set();
const UNTOLD = "A server does not tell what happened within its steps.";
const WAITING = "Select a step to have it told, or wait for the end of the answer.";

/** @returns {Look & { move(by: number): void }} */
export function explainLook() {
  const group = svg("g");
  const image = svg(
    "svg",
    { class: "story-tree", role: "group", "aria-label": "The tree as far as it is told" },
    group,
  );
  const place = h("div", { class: "story-place" }, image);
  const title = h("h4");
  const told = h("div", { class: "told-parts", "aria-live": "polite" });
  const count = h("span", { class: "part-count" });
  const play = button("play", "Play or pause the story", toggle);
  const back = button("back", "Part before", () => go(-1));
  const next = button("next", "Next part", () => go(1));
  const words = h(
    "div",
    { class: "explain-words" },
    h("div", { class: "explain-walk" }, back, play, next, count),
    title,
    told,
  );
  const element = h("div", { class: "explain" }, words, place);
  let size = { width: 1, height: 1 };
  const view = new PanZoom(place, group, () => size);
  view.onRoom = () => drawPicture(false);
  /** @type {Step | null} */
  let step = null;
  /** @type {StepPart[]} */
  let parts = [];
  let at = 0;
  let timer = 0;

  /** @param {number} by */
  function go(by) {
    pause();
    move(by);
  }

  /** @param {number} by */
  function move(by) {
    at = Math.min(Math.max(at + by, 0), Math.max(parts.length - 1, 0));
    drawPart();
  }

  function toggle() {
    if (timer) return pause();
    if (at >= parts.length - 1) at = -1;
    move(1);
    wait();
  }

  function wait() {
    const length = parts[at]?.sentences.join("").length ?? 0;
    timer = setTimeout(
      () => {
        move(1);
        if (at >= parts.length - 1) pause();
        else wait();
      },
      PART_MS + CHARACTER_MS * length,
    );
    play.replaceChildren(icon("pause"));
  }

  function pause() {
    clearTimeout(timer);
    timer = 0;
    play.replaceChildren(icon("play"));
  }

  function drawPart() {
    const part = parts[at];
    setText(title, part?.title ?? (step?.observed ? UNTOLD : WAITING));
    told.replaceChildren(...(part?.sentences ?? []).map((sentence) => h("p", {}, sentence)));
    setText(count, parts.length ? `${at + 1} / ${parts.length}` : "–");
    back.disabled = at === 0;
    next.disabled = at >= parts.length - 1;
    drawPicture(true);
  }

  /** @param {boolean} isNew */
  function drawPicture(isNew) {
    const { current: run } = store;
    hideCardWithin(group);
    if (!run || !step || !parts[at]) {
      size = { width: 1, height: 1 };
      group.replaceChildren();
      return view.refresh();
    }
    const { nodes, boxes, width, height } = picture(run, step, parts[at]);
    const marked = new Set(parts[at].marked);
    const { depths } = step.drafted;
    const ofStep = step;
    size = { width, height };
    group.classList.toggle("is-new", isNew);
    group.replaceChildren(
      ...drawTree(nodes, boxes, (node) => {
        const isFold = node.folds !== undefined;
        const mark = marked.has(node.node) && !isFold ? "marked" : "unmarked";
        return {
          ...(isFold ? { "aria-label": node.text } : nodeAttributes(run, ofStep, node)),
          class: `node ${isFold ? "folded" : node.state} ${mark}`,
          style: `--level:${depths[node.node] ?? ofStep.accepted.path.length + 1}`,
        };
      }),
    );
    view.refresh(boxes[nodes.findIndex(({ node }) => marked.has(node))]);
  }

  return {
    name: "explain",
    label: "Explain",
    isLarge: true,
    help: "This step, told slowly with its own numbers",
    element,
    tools: [],
    zoom: (factor) => view.zoom(factor),
    fit: () => view.fit(),
    summary: () => (store.step ? describe(store.step) : ""),
    draw: () => {
      const { current: run } = store;
      // The newest step of a run that goes on is gone before it is read.
      const told = store.isPinned || run?.isEnded ? store.step : null;
      if (told === step && step) return;
      step = told;
      pause();
      parts = run && step ? explainStep(run, step) : [];
      at = 0;
      drawPart();
    },
    move: go,
  };
}

/**
 * The nodes that a part shows, each where it stands in the whole tree, so that none jumps.
 *
 * @param {RunModel} run
 * @param {Step} step
 * @param {StepPart} part
 */
function picture(run, step, part) {
  const whole = treeNodes(run, step);
  const folded = whole.length > MOST_NODES ? foldUntested(whole, NONE_OPENED) : whole;
  const placed = placeTree(folded, step.accepted.path, ROW_HEIGHT);
  const nodes = nodesOfPart(folded, part);
  // What is left out stands at the end of the list.
  const boxes = nodes.map(({ folds, text }, place) =>
    folds === undefined ? placed.boxes[place] : { ...placed.boxes[place], label: text },
  );
  return { ...placed, nodes, boxes };
}

/**
 * @param {Parameters<typeof icon>[0]} name
 * @param {string} label
 * @param {() => void} onclick
 */
function button(name, label, onclick) {
  return h("button", { type: "button", class: "icon-button", title: label, "aria-label": label, onclick }, icon(name));
}
