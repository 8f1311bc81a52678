// Pointer and keyboard on the answer strips: cards on hover and focus, selection on click.

import { store } from "./page.js";
import { describeNode, describeToken } from "./run_model.js";
import { closeCard, hideCard, pinCard, showCard } from "./token_card.js";

/** @import { TokenSpan } from "./page_types.d.ts" */
/** @import { RunModel } from "./run_model.js" */
/** @import { Strip } from "./strip.js" */
/** @import { Turn } from "./turn.js" */

/** @type {Record<string, (index: number, count: number) => number>} */
const MOVES = {
  ArrowRight: (index) => index + 1,
  ArrowLeft: (index) => index - 1,
  Home: () => 0,
  End: (_, count) => count - 1,
};

/**
 * Listens on the list of turns for all strips in it; `turns` maps run ids to them.
 *
 * @param {HTMLElement} list
 * @param {Map<string, Turn>} turns
 */
export function connectStrip(list, turns) {
  /** @param {EventTarget | null} target */
  function locate(target) {
    const span = target instanceof Element ? /** @type {TokenSpan | null} */ (target.closest(".token")) : null;
    if (!span) return null;
    const turn = [...turns.values()].find(({ strip }) => strip.element.contains(span));
    return turn ? { span, run: turn.run, strip: turn.strip } : null;
  }

  /** @param {EventTarget | null} target */
  function show(target) {
    const place = locate(target);
    if (!place) return hideCard();
    showCard(factsOf(place), place.span);
  }

  /** @param {{ span: TokenSpan, run: RunModel }} place */
  function factsOf({ span, run }) {
    return span.tokenIndex === undefined
      ? describeNode(run, run.steps[span.stepIndex ?? 0], span.node ?? 0)
      : describeToken(run, run.tokens[span.tokenIndex]);
  }

  /**
   * @param {EventTarget | null} target
   * @param {boolean} byKey
   */
  function select(target, byKey) {
    const place = locate(target);
    if (!place) return;
    const { span, run, strip } = place;
    const token = span.tokenIndex ?? null;
    const step = token === null ? (span.stepIndex ?? 0) : run.tokens[token].step;
    if (step >= 0) store.select(run.id, step, token);
    if (token !== null) rove(strip, span);
    pinCard(factsOf(place), span, byKey);
  }

  /**
   * One token of a strip can be reached by Tab; the arrow keys move between them.
   *
   * @param {Strip} strip
   * @param {TokenSpan} span
   */
  function rove(strip, span) {
    for (const old of strip.element.querySelectorAll('[tabindex="0"]')) old.setAttribute("tabindex", "-1");
    span.tabIndex = 0;
    span.focus({ preventScroll: true });
  }

  list.addEventListener("pointerover", (event) => show(event.target));
  list.addEventListener("pointerleave", hideCard);
  list.addEventListener("focusin", (event) => show(event.target));
  list.addEventListener("focusout", hideCard);
  list.addEventListener("click", (event) => select(event.target, false));
  list.addEventListener("keydown", (event) => {
    const place = locate(event.target);
    if (!place) return;
    if (event.key === "Escape") {
      closeCard();
      store.release();
    } else if (event.key === "Enter" || event.key === " ") {
      select(event.target, true);
    } else if (event.key in MOVES) {
      const to = MOVES[event.key](place.span.tokenIndex ?? 0, place.strip.numSpans);
      const next = place.strip.span(to);
      if (!next) return;
      closeCard();
      rove(place.strip, next);
      next.scrollIntoView({ block: "nearest" });
      show(next);
    } else return;
    event.preventDefault();
  });
}
