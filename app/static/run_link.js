// Links to a run and a step of it, as the address has them behind its #.

import { frame } from "./frame.js";
import { store } from "./page.js";

// Browsers refuse addresses that change at every frame.
const PAUSE_MS = 300;

/** @typedef {{ run: string, step: number }} RunLink */

/**
 * The run and the step, from 1, that an address names; null where it names none.
 *
 * @param {string} hash
 * @returns {RunLink | null}
 */
export function parseLink(hash) {
  const given = new URLSearchParams(hash.replace(/^#/, ""));
  const run = given.get("run");
  if (!run) return null;
  const step = Number(given.get("step") ?? 1);
  return { run, step: Number.isInteger(step) && step > 0 ? step : 1 };
}

/** @param {RunLink} link */
export function linkTo({ run, step }) {
  return `#${new URLSearchParams({ run, step: String(step) })}`;
}

/** The address of the page with the step that is shown; null where there is none. */
export function addressOfStep() {
  const { current: run, step } = store;
  return run && step ? new URL(linkTo({ run: run.id, step: step.number }), location.href).href : null;
}

/**
 * Follows the link of the address, now and when it changes, and writes the selection into it.
 * `fetch` asks for a run that the page does not have.
 *
 * @param {(run: string) => void} fetch
 */
export function mountRunLink(fetch) {
  /** @type {RunLink | null} */
  let wanted = null;
  let timer = 0;
  /** The link that the address has been read for, or given. */
  let known = "";

  function follow() {
    known = location.hash;
    wanted = parseLink(known);
    if (!wanted) return;
    if (!store.runs.has(wanted.run)) fetch(wanted.run);
    arrive();
  }

  /** Selects the wanted step as soon as it is there. */
  function arrive() {
    const run = wanted && store.runs.get(wanted.run);
    if (!wanted || !run) return;
    const index = Math.min(wanted.step, run.steps.length) - 1;
    if (index < 0 || (run.steps.length < wanted.step && !run.isEnded)) return;
    wanted = null;
    store.select(run.id, index);
  }

  function write() {
    if (wanted || frame().dataset.tab !== "playground") return;
    // An address that has just been opened is followed before it is written over.
    if (parseLink(location.hash) && location.hash !== known) return;
    const { current: run, step } = store;
    const hash = store.isPinned && run && step ? linkTo({ run: run.id, step: step.number }) : "#playground";
    if (location.hash !== hash) history.replaceState(null, "", hash);
    known = hash;
  }

  store.subscribe(({ selection }) => {
    arrive();
    if (!selection) return;
    clearTimeout(timer);
    timer = setTimeout(write, PAUSE_MS);
  });
  addEventListener("hashchange", follow);
  follow();
  return {
    /**
     * What the page asked for is here, but for runs that go on and send their messages next.
     *
     * @param {(run: string) => boolean} isGoingOn
     */
    arrived(isGoingOn) {
      if (!wanted || store.runs.has(wanted.run) || isGoingOn(wanted.run)) return;
      wanted = null;
      store.tell("This run is not kept any more, or it is somebody else's; open one of the tab Runs.");
    },
  };
}
