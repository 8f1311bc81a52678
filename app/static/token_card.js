// The card that tells all of one token; there is one for the whole page.

import { h } from "./dom.js";
import { percent, visible } from "./format.js";
import { store } from "./page.js";
import { trialText } from "./rule_words.js";

/** @import { Choice, ForkPlace, TokenFacts } from "./page_types.d.ts" */

/** @type {Record<TokenFacts["source"], string>} */
const SOURCE_TEXTS = {
  accepted: "accepted: drafted, and the target agreed",
  remembered: "remembered: drafted from earlier answers, and the target agreed",
  forced: "forced: drafted, and the constraint allowed nothing else",
  recovered: "recovered: the target's own, after a refusal",
  bonus: "bonus: the target's own, after everything was accepted",
  plain: "plain: the target's own, nothing was drafted",
  untold: "untold: the server does not say whether it was drafted",
  inherited: "inherited: of the answer that this is a branch of",
  chosen: "chosen: for this branch, in place of the answer's own",
  rejected: "rejected: drafted, and the target refused it",
  untested: "untested: drafted, but never judged",
  root: "root: the last token before this step",
};

// Those of which no probability is known may have had one.
/** @type {TokenFacts["source"][]} */
const PERHAPS_DRAFTED = ["accepted", "remembered", "forced", "untold", "rejected", "untested", "inherited", "chosen"];

/** @type {HTMLElement | null} */
let card = null;
/** @type {Element | null} */
let anchored = null;
/** Where what it stays for stood when it was told to stay; null while it comes and goes. @type {DOMRect | null} */
let pinned = null;
/** Of what it stays for. */
let pinnedKey = "";
let waiting = 0;
// What a reader's hand moves without meaning to scroll.
const SAME_PLACE_PX = 4;
// A card that stays makes room for another token where the pointer rests, not for those on its way.
const REST_MS = 250;

/**
 * @param {string} name
 * @param {string} value
 */
function row(name, value) {
  return [h("dt", {}, name), h("dd", {}, value)];
}

/**
 * @param {Choice} choice
 * @param {ForkPlace | null} fork
 */
function alternative({ id, text, prob, isChosen }, fork) {
  return h(
    "li",
    { class: isChosen ? "chosen" : null },
    h("code", {}, visible(text)),
    h("span", { class: "gauge", style: `--share:${prob}` }),
    h("span", { class: "prob" }, percent(prob)),
    fork && !(fork.isOwn && isChosen) ? goOn(fork, id, text, "go on") : "",
  );
}

/**
 * @param {string} title
 * @param {Choice[]} entries
 * @param {ForkPlace | null} fork
 */
function list(title, entries, fork) {
  const items = entries.map((entry) => alternative(entry, fork));
  return items.length ? [h("div", {}, h("h4", {}, title), h("ol", {}, ...items))] : [];
}

/**
 * The button by which an answer goes another way.
 *
 * @param {ForkPlace} fork
 * @param {number} id
 * @param {string} text
 * @param {string} label
 */
function goOn({ run, position, path, place }, id, text, label) {
  const name = `Go on with “${visible(text)}” as token ${place + 1}`;
  const onclick = () => {
    closeCard();
    store.onFork?.({ run, position, token_ids: [...path, id] });
  };
  const isBusy = store.isBusy;
  const title = isBusy ? "Once the answer that is being written has ended" : name;
  return h("button", { type: "button", class: "go-on", "aria-label": name, title, disabled: isBusy, onclick }, label);
}

/**
 * What the drafter thought of a token; a server may have drafted it and tells no probability.
 *
 * @param {Pick<TokenFacts, "draftProb" | "source" | "inParent">} facts
 */
export function draftText({ draftProb, source, inParent }) {
  if (draftProb !== null) return percent(draftProb);
  const own = inParent ? inParent.source : source;
  return own !== null && PERHAPS_DRAFTED.includes(own) ? "not told" : "not drafted";
}

/**
 * Where an answer stands that a token comes from, and what it was there.
 *
 * @param {NonNullable<TokenFacts["inParent"]>} place
 */
function parentText({ step, source }) {
  return source ? `${source} in step ${step}` : `a choice in step ${step}`;
}

/**
 * Shows what `describeToken` or `describeNode` tells, beside an element.
 *
 * @param {TokenFacts} facts
 * @param {Element} anchor
 */
export function showCard(facts, anchor) {
  clearTimeout(waiting);
  if (!pinned) draw(facts, anchor, null);
  else if (keyOf(facts) !== pinnedKey) waiting = setTimeout(() => replaceCard(facts, anchor), REST_MS);
}

/**
 * @param {TokenFacts} facts
 * @param {Element} anchor
 */
function replaceCard(facts, anchor) {
  closeCard();
  if (anchor.isConnected) draw(facts, anchor, null);
}

/**
 * The same for one token, wherever it is drawn.
 *
 * @param {TokenFacts} facts
 */
function keyOf({ id, step, depth, fork }) {
  return [fork?.run, step, depth, fork?.path, id].join(" ");
}

/**
 * Has the card stay, with what can be chosen in it, where there is anything to choose; with `byKey` it
 * takes the focus.
 *
 * @param {TokenFacts} facts
 * @param {Element} anchor
 * @param {boolean} byKey
 */
export function pinCard(facts, anchor, byKey) {
  const { fork } = facts;
  closeCard();
  if (!fork || !store.onFork || !store.runs.has(fork.run)) return showCard(facts, anchor);
  pinned = anchor.getBoundingClientRect();
  pinnedKey = keyOf(facts);
  const own = draw(facts, anchor, fork);
  if (byKey) own.querySelector("button")?.focus({ preventScroll: true });
}

/**
 * @param {TokenFacts} facts
 * @param {Element} anchor
 * @param {ForkPlace | null} fork
 */
function draw(facts, anchor, fork) {
  card ??= makeCard();
  const facts_ = [
    ...row("Id", facts.id < 0 ? "not told" : String(facts.id)),
    ...(facts.step ? row("Step", `${facts.step}, depth ${facts.depth}`) : row("Token", String(facts.depth))),
    ...(facts.inParent ? row("Parent", parentText(facts.inParent)) : []),
    ...row("Target", percent(facts.targetProb)),
    ...row("Draft", draftText(facts)),
  ];
  card.replaceChildren(
    h("code", { class: "card-text" }, visible(facts.text)),
    h("p", { class: `card-source ${facts.source}` }, SOURCE_TEXTS[facts.source]),
    h("dl", {}, ...facts_),
    fork && !fork.isOwn ? h("p", { class: "go-on-line" }, goOn(fork, facts.id, facts.text, "go on with this")) : "",
    facts.why ? h("div", { class: "why" }, h("h4", {}, "Why was this refused?"), trialText(facts.why)) : "",
    h(
      "div",
      { class: "choices" },
      ...list("Target's choices here", facts.alternatives, fork),
      ...(facts.why ? list("Drafter's choices here", facts.drafterChoices ?? [], fork) : []),
    ),
  );
  card.classList.toggle("is-wide", Boolean(facts.why && facts.drafterChoices?.length));
  card.classList.toggle("is-pinned", fork !== null);
  card.setAttribute("role", fork ? "dialog" : "tooltip");
  card.setAttribute("aria-label", `Token ${visible(facts.text)}`);
  card.hidden = false;
  anchored = anchor;
  place(card, anchor.getClientRects()[0] ?? anchor.getBoundingClientRect());
  return card;
}

/** There is one, which goes when something else is pressed. */
function makeCard() {
  const made = document.body.appendChild(h("div", { id: "token-card" }));
  made.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    event.stopPropagation();
    closeCard();
    if (anchored instanceof HTMLElement || anchored instanceof SVGElement) anchored.focus({ preventScroll: true });
    hideCard();
  });
  made.addEventListener("pointerenter", () => clearTimeout(waiting));
  document.addEventListener("pointerdown", ({ target }) => {
    if (pinned && !(target instanceof Node && made.contains(target))) closeCard();
  });
  return made;
}

/** Hides the card, unless it is to stay. */
export function hideCard() {
  clearTimeout(waiting);
  if (card && !pinned) card.hidden = true;
}

/** Hides the card. */
export function closeCard() {
  pinned = null;
  hideCard();
}

/**
 * Hides the card if what it tells of has been scrolled away from it.
 *
 * @param {Element} scroller
 */
export function leaveCard(scroller) {
  if (!pinned || !anchored) return hideCard();
  const moved = Math.abs(anchored.getBoundingClientRect().top - pinned.top);
  if (scroller.contains(anchored) && moved > SAME_PLACE_PX) closeCard();
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
