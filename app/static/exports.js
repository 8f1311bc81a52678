// Downloads of the run that is shown; they are there once it has ended.

import { h } from "./dom.js";
import { store } from "./page.js";

const FILES = [
  { name: "steps.csv", label: "Steps CSV", help: "One row a step" },
  { name: "tokens.csv", label: "Tokens CSV", help: "One row a token" },
  { name: "trace.jsonl", label: "Trace JSONL", help: "Every event, to open again" },
];

export function mount({ element }) {
  const links = FILES.map(({ name, label, help }) =>
    h("a", { class: "download", title: help, "data-file": name, download: "" }, label),
  );
  element.append(h("h3", {}, "Export"), h("div", { class: "downloads" }, ...links));
  store.subscribe(() => {
    const run = store.current;
    const isReady = Boolean(run?.isEnded && run.steps.length);
    for (const link of links) {
      if (isReady) {
        const file = `../runs/${encodeURIComponent(run.id)}/${link.dataset.file}`;
        link.href = new URL(file, import.meta.url).href;
        link.removeAttribute("aria-disabled");
      } else {
        link.removeAttribute("href");
        link.setAttribute("aria-disabled", "true");
      }
    }
  });
}
