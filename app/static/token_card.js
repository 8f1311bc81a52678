// The card that tells all of one token; there is one for the whole page.

import { h } from "./dom.js";
import { percent, visible } from "./format.js";
import { trialText } from "./rule_words.js";

/** @import { Choice, TokenFacts } from "./page_types.d.ts" */

/** @type {Record<TokenFacts["source"], string>} */
const SOURCE_TEXTS = {
  accepted: "accepted: drafted, and the target agreed",
  remembered: "remembered: drafted from earlier answers, and the target agreed",
  forced: "forced: drafted, and the constraint allowed nothing else",
  recovered: "recovered: the target's own, after a refusal",
  bonus: "bonus: the target's own, after everything was accepted",
  plain: "plain: the target's own, nothing was drafted",
  untold: "untold: the server does not say whether it was drafted",
  rejected: "rejected: drafted, and the target refused it",
  untested: "untested: drafted, but never judged",
  root: "root: the last token before this step",
};

/** @type {HTMLElement | null} */
let card = null;
/** @type {Element | null} */
let anchored = null;

/**
 * @param {string} name
 * @param {string} value
 */
function row(name, value) {
  return [h("dt", {}, name), h("dd", {}, value)];
}

/** @param {Choice} choice */
function alternative({ text, prob, isChosen }) {
  return h(
    "li",
    { class: isChosen ? "chosen" : null },
    h("code", {}, visible(text)),
    h("span", { class: "gauge", style: `--share:${prob}` }),
    h("span", { class: "prob" }, percent(prob)),
  );
}

/**
 * @param {string} title
 * @param {Choice[]} entries
 */
function list(title, entries) {
  return entries.length ? [h("div", {}, h("h4", {}, title), h("ol", {}, ...entries.map(alternative)))] : [];
}

/**
 * What the drafter thought of a token; a server may have drafted it and tells no probability.
 *
 * @param {Pick<TokenFacts, "draftProb" | "source">} facts
 */
export function draftText({ draftProb, source }) {
  if (draftProb !== null) return percent(draftProb);
  return ["accepted", "remembered", "forced", "untold"].includes(source) ? "not told" : "not drafted";
}

/**
 * Shows what `describeToken` or `describeNode` tells, beside an element.
 *
 * @param {TokenFacts} facts
 * @param {Element} anchor
 */
export function showCard(facts, anchor) {
  card ??= document.body.appendChild(h("div", { id: "token-card", role: "tooltip" }));
  const facts_ = [
    ...row("Id", facts.id < 0 ? "not told" : String(facts.id)),
    ...row("Step", `${facts.step}, depth ${facts.depth}`),
    ...row("Target", percent(facts.targetProb)),
    ...row("Draft", draftText(facts)),
  ];
  card.replaceChildren(
    h("code", { class: "card-text" }, visible(facts.text)),
    h("p", { class: `card-source ${facts.source}` }, SOURCE_TEXTS[facts.source]),
    h("dl", {}, ...facts_),
    facts.why ? h("div", { class: "why" }, h("h4", {}, "Why was this refused?"), trialText(facts.why)) : "",
    h(
      "div",
      { class: "choices" },
      ...list("Target's choices here", facts.alternatives),
      ...(facts.why ? list("Drafter's choices here", facts.drafterChoices ?? []) : []),
    ),
  );
  card.classList.toggle("is-wide", Boolean(facts.why && facts.drafterChoices?.length));
  card.hidden = false;
  anchored = anchor;
  place(card, anchor.getClientRects()[0] ?? anchor.getBoundingClientRect());
}

export function hideCard() {
  if (card) card.hidden = true;
}

/**
 * Hides the card if it belongs to something inside an element that is about to go.
 *
 * @param {Element} element
 */
export function hideCardWithin(element) {
  if (anchored && element.contains(anchored)) hideCard();
}

/**
 * Below the token where there is room, else above; always inside the window.
 *
 * @param {HTMLElement} card
 * @param {DOMRect} rect
 */
function place(card, rect) {
  const { offsetWidth: width, offsetHeight: height } = card;
  const left = Math.min(Math.max(8, rect.left - 12), window.innerWidth - width - 8);
  const fitsBelow = rect.bottom + height + 12 < window.innerHeight;
  const top = fitsBelow ? rect.bottom + 6 : Math.max(8, rect.top - height - 6);
  card.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
}
