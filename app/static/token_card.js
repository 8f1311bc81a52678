// The card that tells all of one token; there is one for the whole page.

import { h } from "./dom.js";
import { percent, visible } from "./format.js";

const SOURCE_TEXTS = {
  accepted: "accepted: drafted, and the target agreed",
  recovered: "recovered: the target's own, after a refusal",
  bonus: "bonus: the target's own, after everything was accepted",
  plain: "plain: the target's own, nothing was drafted",
  rejected: "rejected: drafted, and the target refused it",
  untested: "untested: drafted, but never judged",
  root: "root: the last token before this step",
};

let card = null;

function row(name, value) {
  return [h("dt", {}, name), h("dd", {}, value)];
}

function alternative({ text, prob, isChosen }) {
  return h(
    "li",
    { class: isChosen ? "chosen" : null },
    h("code", {}, visible(text)),
    h("span", { class: "gauge", style: `--share:${prob}` }),
    h("span", { class: "prob" }, percent(prob)),
  );
}

/** Shows what `describeToken` or `describeNode` tells, beside an element. */
export function showCard(facts, anchor) {
  card ??= document.body.appendChild(h("div", { id: "token-card", role: "tooltip" }));
  const facts_ = [
    ...row("Id", String(facts.id)),
    ...row("Step", `${facts.step}, depth ${facts.depth}`),
    ...row("Target", percent(facts.targetProb)),
    ...row("Draft", facts.draftProb === null ? "not drafted" : percent(facts.draftProb)),
  ];
  card.replaceChildren(
    h("code", { class: "card-text" }, visible(facts.text)),
    h("p", { class: `card-source ${facts.source}` }, SOURCE_TEXTS[facts.source]),
    h("dl", {}, ...facts_),
    facts.alternatives.length
      ? h("div", {}, h("h4", {}, "Target's choices here"), h("ol", {}, ...facts.alternatives.map(alternative)))
      : "",
  );
  card.hidden = false;
  place(anchor.getClientRects()[0] ?? anchor.getBoundingClientRect());
}

export function hideCard() {
  if (card) card.hidden = true;
}

// Below the token where there is room, else above; always inside the window.
function place(rect) {
  const { offsetWidth: width, offsetHeight: height } = card;
  const left = Math.min(Math.max(8, rect.left - 12), window.innerWidth - width - 8);
  const fitsBelow = rect.bottom + height + 12 < window.innerHeight;
  const top = fitsBelow ? rect.bottom + 6 : Math.max(8, rect.top - height - 6);
  card.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
}
