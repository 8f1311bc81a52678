// Models: what is loaded, what is here, what fits and drafts for it, which modes it can run; load another,
// or cancel that.

import { h, setText } from "./dom.js";
import { bytes } from "./format.js";
import { frame } from "./frame.js";
import { onStatus, refreshStatus, statusLine } from "./model_status.js";
import { getJson, messageOf, send } from "./net.js";
import { onTab } from "./tabs.js";

/** @import { ViewContext } from "./page_types.d.ts" */
/** @import { CatalogueEntry, Draft, Drafts, LocalModel, Models, ModelSize } from "./types.d.ts" */

// Asked for while a name is typed, at the earliest this long after the last key.
const SIZE_PAUSE_MS = 400;
// A run needs more than the weights.
const MARGIN = 1.1;

/** @param {ViewContext} context */
export function mount({ element, trigger }) {
  const name = h("input", {
    class: "search",
    "aria-label": "Target",
    placeholder: "Catalogue name, local folder, .gguf file, hub id, or http://host:port of a server",
  });
  const told = h("span");
  const dismiss = h("button", { type: "button", class: "link", onclick: () => tell("") }, "Dismiss");
  const notice = h("p", { class: "notice", role: "alert", hidden: true }, told, " ", dismiss);
  const status = h("p", { class: "status-line", role: "status" });
  const gauge = h("span", { class: "gauge", hidden: true });
  const cancel = h(
    "button",
    { type: "button", class: "plain-button", hidden: true, onclick: () => act(() => send("POST", "models/cancel")) },
    "Cancel",
  );
  const size = h("p", { class: "summary", role: "status" });
  const memory = h("p", { class: "summary" });
  const drafts = h("div", { class: "drafts", role: "group", "aria-label": "Draft models that fit", hidden: true });
  const catalogue = h("div", { class: "cards" });
  const modes = h("tbody");
  const form = h(
    "form",
    {
      class: "list-tools",
      onsubmit: (event) => {
        event.preventDefault();
        load(name.value);
      },
    },
    name,
    h("button", { class: "plain-button" }, "Load"),
    cancel,
  );
  element.append(
    h("h2", {}, "Models"),
    status,
    gauge,
    notice,
    form,
    size,
    drafts,
    memory,
    catalogue,
    h("h3", {}, "What the loaded target can run"),
    h(
      "table",
      { class: "runs modes" },
      h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Mode"), h("th", { scope: "col" }, "Available"))),
      modes,
    ),
  );

  /** @param {string} sentence what failed; it stays until it is dismissed or something is loaded */
  function tell(sentence) {
    setText(told, sentence);
    notice.hidden = !sentence;
  }

  /** @param {() => unknown} work */
  async function act(work) {
    try {
      await work();
    } catch (error) {
      tell(messageOf(error));
    }
  }

  let timer = 0;
  name.addEventListener("input", () => {
    clearTimeout(timer);
    setText(size, "");
    timer = setTimeout(tellSize, SIZE_PAUSE_MS, name.value.trim());
  });

  /** @param {string} target */
  async function tellSize(target) {
    if (!target) return;
    let line;
    try {
      const found = await getJson(`models/size.json?target=${encodeURIComponent(target)}`);
      line = found.server ?? sizeLine(found);
    } catch (error) {
      line = messageOf(error);
    }
    if (name.value.trim() === target) setText(size, line);
  }

  /** @param {string} target */
  function load(target) {
    act(async () => {
      tell("");
      failure = "";
      await send("POST", "models/load", { target });
      refreshStatus();
      const box = /** @type {HTMLInputElement} */ (document.querySelector("#setting-target input"));
      box.value = target.trim();
      box.dispatchEvent(new Event("input", { bubbles: true }));
    });
  }

  const reload = () =>
    act(async () => {
      /** @type {Models} */
      const models = await getJson("models.json");
      setText(memory, `${bytes(models.free_bytes)} of ${bytes(models.total_bytes)} memory are free`);
      catalogue.replaceChildren(
        ...models.catalogue.map((model) => card(model, load)),
        ...models.fetched.map((model) => fetchedCard(model, load)),
      );
      modes.replaceChildren(
        ...models.modes.map(({ mode, reason }) =>
          h(
            "tr",
            {},
            h("th", { scope: "row" }, mode),
            h("td", { class: reason ? "parted" : "" }, reason ?? (models.target ? "yes" : "load a model first")),
          ),
        ),
      );
      await showDrafts();
    });

  async function showDrafts() {
    /** @type {Drafts} */
    const { target, drafts: fitting } = await getJson("models/drafts.json");
    drafts.hidden = !fitting.length;
    drafts.replaceChildren(h("h3", {}, `Drafts for ${target}`), ...fitting.map((draft) => draftLine(draft, trigger)));
  }

  let phase = "";
  let failure = "";
  onStatus((read) => {
    setText(status, read.phase === "failed" ? "No model is loaded." : statusLine(read));
    if (read.phase === "loading") tell("");
    else if (read.failure && read.failure !== failure) tell(read.failure);
    failure = read.failure;
    cancel.hidden = read.phase !== "loading";
    gauge.hidden = read.phase !== "loading" || !read.total;
    gauge.style.setProperty("--share", String(read.total ? read.done / read.total : 0));
    if (read.phase !== phase && frame().dataset.tab === "models") reload();
    phase = read.phase;
  });
  onTab((tab) => tab === "models" && reload());
}

/**
 * What a model needs, in one line: what comes over the network, and what fits into memory.
 *
 * @param {ModelSize} size
 */
export function sizeLine({ num_parameters: weights, fetched_bytes: fetched, needed_bytes: needed, free_bytes: free }) {
  const sizes = Object.entries(needed).map(
    ([name, count]) => `${name} ${bytes(count)}${count * MARGIN > free ? " (does not fit)" : ""}`,
  );
  const fetch = fetched ? `${bytes(fetched)} to fetch once; ` : "";
  return `${fetch}${weightsOf(weights)}, in memory ${sizes.join(", ")}`;
}

/** @param {number} count */
function weightsOf(count) {
  return `${count < 1e9 ? `${(count / 1e6).toFixed(0)} million` : `${(count / 1e9).toFixed(1)} billion`} weights`;
}

/**
 * @param {CatalogueEntry} model
 * @param {(target: string) => void} load
 */
function card({ name, note, ...size }, load) {
  return h(
    "button",
    { type: "button", class: "example", onclick: () => load(name) },
    h("strong", {}, name),
    h("span", {}, note),
    h("span", {}, sizeLine(size)),
    size.fetched_bytes ? "" : offlineMark(),
  );
}

/**
 * @param {LocalModel} model
 * @param {(target: string) => void} load
 */
function fetchedCard({ name, num_parameters: weights }, load) {
  return h(
    "button",
    { type: "button", class: "example", onclick: () => load(name) },
    h("strong", {}, name),
    h("span", {}, weightsOf(weights)),
    offlineMark(),
  );
}

function offlineMark() {
  return h("span", { class: "offline-mark" }, "works offline: its files are here");
}

/**
 * @param {Draft} draft
 * @param {ViewContext["trigger"]} trigger
 */
function draftLine({ name, num_parameters: weights }, trigger) {
  const use = h("button", { type: "button", class: "plain-button" }, "Use it");
  use.addEventListener("click", () => {
    trigger("select", { draft: name });
    setText(use, "In the settings");
  });
  return h(
    "p",
    { class: "draft-line" },
    use,
    h("strong", {}, name || "the small model that is shipped for it"),
    h("span", {}, `${weightsOf(weights)}, the same tokens; it drafts in the mode sd-classic`),
  );
}
