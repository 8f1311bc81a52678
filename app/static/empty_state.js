// What empty tabs show: the chat one sentence, and questions worth asking; others what there will be to see.

import { h } from "./dom.js";

const EXAMPLES = [
  {
    title: "Rewrite code",
    note: "repeats its prompt, so n-gram drafts are long",
    prompt:
      "Rename the variable total to sum_of_squares and return the whole function:\n\n" +
      "def norm(values):\n    total = 0\n    for value in values:\n        total += value * value\n" +
      "    return total ** 0.5",
  },
  {
    title: "Quote and repeat",
    note: "almost every token is accepted",
    prompt:
      "Repeat this text exactly, word for word, twice: The quick brown fox jumps over the lazy dog " +
      "while the five boxing wizards jump quickly and the jovial miner packs a heavy quartz box.",
  },
  {
    title: "Open question",
    note: "little repeats, so drafts stay short",
    prompt: "Explain in a few sentences why the sky is blue.",
  },
  {
    title: "A list",
    note: "its form repeats, its content does not",
    prompt: "List ten European countries with their capitals, one per line.",
  },
];

/**
 * `ask` is called with the question that was chosen.
 *
 * @param {(prompt: string) => void} ask
 */
export function emptyState(ask) {
  return h(
    "div",
    { class: "welcome" },
    h("h2", {}, "See where every token comes from"),
    h(
      "p",
      {},
      "A drafter guesses several tokens at once and the target model checks them in one pass. " +
        "Ask something and watch which guesses it keeps.",
    ),
    h(
      "div",
      { class: "examples" },
      ...EXAMPLES.map(({ title, note, prompt }) =>
        h(
          "button",
          { type: "button", class: "example", onclick: () => ask(prompt) },
          h("strong", {}, title),
          h("span", {}, note),
        ),
      ),
    ),
  );
}

/**
 * What a tab will show, once it is asked.
 *
 * @param {string} title
 * @param {string} lead how to ask it; it ends in "You will see"
 * @param {string[]} promises
 */
export function promise(title, lead, promises) {
  return h(
    "section",
    { class: "promise" },
    h("h2", {}, title),
    h("p", {}, lead),
    h("ul", {}, ...promises.map((text) => h("li", {}, text))),
  );
}
