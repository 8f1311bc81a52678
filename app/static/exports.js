// Downloads of the run that is shown; they are there once it has ended.

import { h } from "./dom.js";
import { address } from "./net.js";
import { store } from "./page.js";

/** @import { ViewContext } from "./page_types.d.ts" */

export const FILES = [
  { name: "steps.csv", label: "Steps CSV", help: "One row a step" },
  { name: "tokens.csv", label: "Tokens CSV", help: "One row a token" },
  { name: "nodes.csv", label: "Nodes CSV", help: "One row a drafted node" },
  { name: "trace.jsonl", label: "Trace", help: "Every event as JSON lines, to open again" },
  { name: "perfetto.json", label: "Perfetto", help: "For ui.perfetto.dev and chrome://tracing" },
  { name: "report.html", label: "Report", help: "One page that opens without this program" },
];

/**
 * @param {string} runId
 * @param {string} name
 */
export function fileAddress(runId, name) {
  return address(`runs/${encodeURIComponent(runId)}/${name}`);
}

/** @param {ViewContext} context */
export function mount({ element }) {
  const links = FILES.map(({ name, label, help }) =>
    h("a", { class: "download", title: help, "data-file": name, download: "" }, label),
  );
  element.append(h("h3", {}, "Export"), h("div", { class: "downloads" }, ...links));
  store.subscribe(() => {
    const run = store.current;
    const isReady = Boolean(run?.isEnded && run.steps.length);
    for (const link of links) {
      if (run && isReady) {
        link.href = fileAddress(run.id, link.dataset.file ?? "");
        link.removeAttribute("aria-disabled");
      } else {
        link.removeAttribute("href");
        link.setAttribute("aria-disabled", "true");
      }
    }
  });
}
