// The chat: turns of a question and an answer strip. The server's messages come in here.

import { lineage } from "./branch_names.js";
import { copyText } from "./clipboard.js";
import { h, onValue, setText } from "./dom.js";
import { emptyState } from "./empty_state.js";
import { frame } from "./frame.js";
import { mountLegend } from "./legend.js";
import { Memory } from "./memory.js";
import { getJson } from "./net.js";
import { store } from "./page.js";
import { misplaced } from "./root_path.js";
import { mountRunLink } from "./run_link.js";
import { connectStrip } from "./strip_input.js";
import { showTab } from "./tabs.js";
import { leaveCard } from "./token_card.js";
import { mountTour, tourAfterPreset } from "./tour.js";
import { Turn } from "./turn.js";

/** @import { ViewContext } from "./page_types.d.ts" */
/** @import { KeptRun, Resumed, RunMessage } from "./types.d.ts" */

const NEAR_BOTTOM_PX = 80;

/** @param {ViewContext} context */
export function mount({ element, props, watch, trigger, server }) {
  /** @type {Map<string, Turn>} */
  const turns = new Map();
  const list = h("div", { class: "turns", role: "log", "aria-label": "Chat" });
  const notice = h("p", { class: "notice", role: "alert", hidden: true });
  const welcome = emptyState((prompt) => trigger("select", { prompt }));
  const legend = h("div", { class: "legend" });
  element.append(legend, h("div", { class: "scroller" }, welcome, list), notice);
  const scroller = /** @type {HTMLElement} */ (list.parentElement);
  connectStrip(list, turns);
  mountLegend(legend);
  let isFollowing = true;
  /** What was in the chat before the page was loaded, until it is here. @type {string[]} */
  let awaited = [];
  const allRuns = () => (awaited.length ? awaited : [...store.runs.keys()]);
  const memory = new Memory("chat", allRuns);
  awaited = memory.recall();
  /** Which branches were shown, until they are here. @type {string[]} */
  let shown = [];
  const shownMemory = new Memory("branches", () => (awaited.length ? shown : store.turns));
  shown = shownMemory.recall();
  scroller.addEventListener("scroll", () => {
    leaveCard(scroller);
    const below = scroller.scrollHeight - scroller.scrollTop - scroller.clientHeight;
    isFollowing = below < NEAR_BOTTOM_PX;
  });

  function drawTurns() {
    for (const [id, turn] of turns) {
      if (!store.turns.includes(id)) turn.element.remove();
      if (!store.runs.has(id)) turns.delete(id);
    }
    store.turns.forEach((id, place) => {
      const run = store.runs.get(id);
      if (!run) return;
      let turn = turns.get(id);
      if (!turn) {
        turn = new Turn(run, store.showRefused);
        turns.set(id, turn);
        isFollowing = true;
      }
      const there = list.children[place] ?? null;
      if (there !== turn.element) list.insertBefore(turn.element, there);
    });
    welcome.hidden = store.turns.length + awaited.length > 0;
    notice.hidden = !store.notice;
    setText(notice, store.notice);
    frame().classList.toggle("is-busy", store.isBusy);
    frame().classList.toggle("has-chat", store.turns.length > 0);
    memory.keep();
    shownMemory.keep();
  }

  store.subscribe((changes) => {
    if (changes.chat) drawTurns();
    for (const [id, turn] of turns) {
      if (changes.chat) {
        turn.setShowRefused(store.showRefused);
        turn.setColorMode(store.colorMode);
      }
      if (changes.runs.has(id) || changes.chat) turn.update();
      if (changes.selection || changes.runs.has(id)) {
        const isMarked = store.isPinned && store.current?.id === id;
        turn.strip.mark(isMarked ? store.step : null, isMarked ? store.token : null);
        if (isMarked && changes.selection) turn.strip.reveal(scroller);
      }
    }
    if (isFollowing) scroller.scrollTop = scroller.scrollHeight;
  });
  store.ask = (request) => server.since(request);
  store.tell(misplaced(`${window.gradio_config.root}/`, document.baseURI));
  mountTour();
  window.specdecodes = {
    copyChat: () => copyText(chatText()),
    shownTurns: () => store.turns,
    presetChosen: () => {
      showTab("playground");
      tourAfterPreset();
    },
  };
  store.onOpen = () => trigger("input", { runs: allRuns() });
  store.onFork = (request) => trigger("edit", { ...request });
  if (awaited.length) trigger("apply", { runs: awaited });
  const link = mountRunLink((run) => trigger("apply", { runs: [...allRuns(), run] }));

  /** @param {string} json */
  async function receive(json) {
    if (!json.startsWith('{"resumed"')) return store.receive(json);
    /** @type {Resumed} */
    const { resumed } = JSON.parse(json);
    const over = resumed.filter(({ run, is_over: isOver }) => isOver && !store.runs.has(run));
    const messages = await Promise.all(over.map(({ run }) => wholeRun(run)));
    for (const message of await withParents(messages.flatMap((message) => message ?? []))) store.take(message);
    awaited = [];
    for (const id of shown) if (store.runs.has(id)) store.show(id);
    shown = [];
    const isGoingOn = (/** @type {string} */ run) => resumed.some((turn) => turn.run === run && !turn.is_over);
    link.arrived(isGoingOn);
    store.touch({ chat: true });
  }

  // In order, also while the turns of before are on their way.
  let received = Promise.resolve();
  onValue({ props, watch }, (json) => {
    received = received.then(() => receive(json)).catch(reportError);
  });
}

/**
 * The message with all of an ended run; null where there is none any more.
 *
 * @param {string} id
 * @returns {Promise<RunMessage | null>}
 */
async function wholeRun(id) {
  try {
    return await getJson(`archive/${encodeURIComponent(id)}/message.json`);
  } catch {
    const json = await store.ask?.(`${id}:0`); // a browser without cookies has no shelf
    return json ? JSON.parse(json) : null;
  }
}

/**
 * Runs, each behind the kept ones that it was forked from and that the page does not have.
 *
 * @param {RunMessage[]} messages
 * @returns {Promise<RunMessage[]>}
 */
async function withParents(messages) {
  if (!messages.some(({ events }) => events.some((event) => event.kind === "run_started" && event.parent))) {
    return messages;
  }
  /** @type {{ runs: KeptRun[] }} */
  const { runs } = await getJson("archive.json").catch(() => ({ runs: [] })); // without cookies
  const ids = messages.flatMap(({ run }) => {
    const own = runs.find(({ run_id: id }) => id === run);
    return own ? lineage(own, runs).map(({ run_id: id }) => id) : [run];
  });
  const wanted = [...new Set(ids)].filter((id) => !store.runs.has(id));
  const found = await Promise.all(wanted.map((id) => messages.find(({ run }) => run === id) ?? wholeRun(id)));
  return found.flatMap((message) => message ?? []);
}

function chatText() {
  const runs = store.turns.flatMap((id) => store.runs.get(id) ?? []);
  return runs.map((run) => `User: ${run.turn.user}\n\nAssistant: ${run.text}`).join("\n\n");
}
