// Pointer and keyboard on the answer strips: cards on hover and focus, selection on click.

import { store } from "./page.js";
import { describeNode, describeToken } from "./run_model.js";
import { hideCard, showCard } from "./token_card.js";

/** @import { TokenSpan } from "./page_types.d.ts" */
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
    const { span, run } = place;
    const facts =
      span.tokenIndex === undefined
        ? describeNode(run, run.steps[span.stepIndex ?? 0], span.node ?? 0)
        : describeToken(run, run.tokens[span.tokenIndex]);
    showCard(facts, span);
  }

  /** @param {EventTarget | null} target */
  function select(target) {
    const place = locate(target);
    if (!place) return false;
    const { span, run, strip } = place;
    const token = span.tokenIndex ?? null;
    store.select(run.id, token === null ? (span.stepIndex ?? 0) : run.tokens[token].step, token);
    if (token !== null) rove(strip, span);
    return true;
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
  list.addEventListener("click", (event) => select(event.target));
  list.addEventListener("keydown", (event) => {
    const place = locate(event.target);
    if (!place) return;
    if (event.key === "Escape") {
      hideCard();
      store.release();
    } else if (event.key === "Enter" || event.key === " ") {
      select(event.target);
    } else if (event.key in MOVES) {
      const to = MOVES[event.key](place.span.tokenIndex ?? 0, place.strip.numSpans);
      const next = place.strip.span(to);
      if (!next) return;
      rove(place.strip, next);
      next.scrollIntoView({ block: "nearest" });
      show(next);
    } else return;
    event.preventDefault();
  });
}
