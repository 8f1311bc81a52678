// The visitor's kept runs and files of other programs: a list with filters; open, rename, delete,
// download, compare, and profiles in the Lab.

import { besideView } from "./beside_view.js";
import { lineage } from "./branch_names.js";
import { showComparison } from "./compare_view.js";
import { h } from "./dom.js";
import { FILES, fileAddress } from "./exports.js";
import { fixed, lossyMark, percent } from "./format.js";
import { showLab } from "./lab_view.js";
import { address, getJson, messageOf, send } from "./net.js";
import { store } from "./page.js";
import { onTab, showTab } from "./tabs.js";

/** @import { ViewContext } from "./page_types.d.ts" */
/** @import { KeptRun } from "./types.d.ts" */

const TABLES = ["runs", "steps", "tokens", "nodes"];
const FILES_HELP =
  "A trace, or a file of vLLM, SGLang, AIPerf, llama.cpp (SPEED-Bench, server log), Spec-Bench or EAGLE";

/** @typedef {{ runs: KeptRun[], mostCompared: number, text: string, mode: string, chosen: Set<string> }} Listed */
/** @typedef {{ open: (run: KeptRun) => void, rename: (run: KeptRun, name: string) => void, remove: (run: KeptRun) => void, draw: () => void }} Actions */

/** @param {ViewContext} context */
export function mount({ element }) {
  /** @type {Listed} */
  const state = { runs: [], mostCompared: 0, text: "", mode: "", chosen: new Set() };
  const body = h("tbody");
  const told = h("p", { class: "notice", role: "alert", hidden: true });
  const count = h("span", { class: "summary", role: "status" });
  const modes = h("select", {
    class: "small-select",
    "aria-label": "Mode",
    onchange: ({ target }) => set({ mode: target.value }),
  });
  const compare = h("button", { type: "button", class: "plain-button", onclick: compareChosen }, "Compare chosen");
  const lab = h("button", { type: "button", class: "plain-button", onclick: openLab }, "Open in the Lab");
  const everyone = h("input", { type: "checkbox", "aria-label": "Choose all that are shown", onchange: chooseAll });
  const beside = besideView();
  const file = h("input", {
    type: "file",
    class: "screen-reader",
    id: "open-trace",
    onchange: openFile,
  });
  element.append(
    h(
      "div",
      { class: "list-tools" },
      h("input", {
        type: "search",
        class: "search",
        placeholder: "Filter by name, prompt or mode",
        "aria-label": "Filter",
        oninput: (event) => set({ text: event.target.value }),
      }),
      modes,
      count,
      h("span", { class: "spacer" }),
      compare,
      lab,
      h("label", { class: "plain-button", for: "open-trace", title: FILES_HELP }, "Open a file", file),
      ...TABLES.map((table) =>
        h(
          "a",
          {
            class: "download",
            href: address(`archive/${table}.csv`),
            download: "",
            title: `All runs, a row a ${table.slice(0, -1)}`,
          },
          `${table}.csv`,
        ),
      ),
    ),
    told,
    h(
      "div",
      { class: "table-scroller", tabindex: "0", role: "region", "aria-label": "Table" },
      h("table", { class: "runs" }, header(everyone), body),
    ),
    beside.panel,
  );

  /** @param {Partial<Listed>} values */
  function set(values) {
    Object.assign(state, values);
    draw();
  }

  /** @param {unknown} error */
  function tell(error) {
    told.hidden = !error;
    told.textContent = error ? messageOf(error) : "";
  }

  /** @param {() => unknown} work */
  async function act(work) {
    tell(null);
    try {
      await work();
    } catch (error) {
      tell(error);
    }
  }

  const reload = () =>
    act(async () => {
      const { runs, most_compared: mostCompared } = await getJson("archive.json");
      set({ runs, mostCompared });
    });
  const open = (/** @type {KeptRun} */ run) =>
    act(async () => {
      if (run.is_import) return beside.show([run.run_id]);
      const messages = lineage(run, state.runs).map(({ run_id: id }) =>
        getJson(`archive/${encodeURIComponent(id)}/message.json`),
      );
      store.open(await Promise.all(messages));
      showTab("playground");
    });
  const rename = (/** @type {KeptRun} */ run, /** @type {string} */ name) =>
    act(async () => {
      await send("PATCH", `archive/${run.run_id}`, { name });
      await reload();
    });
  const remove = (/** @type {KeptRun} */ run) =>
    act(async () => {
      state.chosen.delete(run.run_id);
      await send("DELETE", `archive/${run.run_id}`);
      await reload();
    });

  function openFile() {
    const [chosen] = file.files ?? [];
    if (!chosen) return;
    act(async () => {
      await send("POST", `archive?name=${encodeURIComponent(chosen.name)}`, chosen);
      await reload();
    });
    file.value = "";
  }

  function compareChosen() {
    act(async () => {
      // Only traces can be raced and judged token by token.
      if (state.runs.some((run) => run.is_import && state.chosen.has(run.run_id))) {
        return beside.show([...state.chosen]);
      }
      showComparison(await getJson(`archive/compare.json?ids=${[...state.chosen].join(",")}`));
      showTab("compare");
    });
  }

  function openLab() {
    act(async () => {
      showLab(await send("POST", `labs.json?ids=${[...state.chosen].join(",")}`));
      showTab("lab");
    });
  }

  function chooseAll() {
    for (const { run_id: id } of shownRuns()) {
      if (everyone.checked) state.chosen.add(id);
      else state.chosen.delete(id);
    }
    draw();
  }

  function shownRuns() {
    const wanted = state.text.toLowerCase();
    return state.runs.filter(
      (run) =>
        (!state.mode || modeOf(run) === state.mode) &&
        `${run.name} ${run.prompt} ${modeOf(run)}`.toLowerCase().includes(wanted),
    );
  }

  function draw() {
    const known = ["", ...new Set(state.runs.map(modeOf))];
    modes.replaceChildren(
      ...known.map((mode) => h("option", { value: mode, selected: mode === state.mode }, mode || "every mode")),
    );
    const shown = shownRuns();
    count.textContent = `${shown.length} of ${state.runs.length}`;
    compare.disabled = state.chosen.size < 2 || state.chosen.size > state.mostCompared;
    compare.title = compare.disabled ? `Choose 2 to ${state.mostCompared} runs` : "";
    const chosen = state.runs.filter((run) => state.chosen.has(run.run_id));
    lab.disabled = !chosen.length || chosen.some((run) => !run.profiled);
    lab.title = lab.disabled ? "Choose profiles, which the Lab has measured" : "";
    everyone.checked = shown.length > 0 && shown.every((run) => state.chosen.has(run.run_id));
    body.replaceChildren(...shown.map((run) => row(run, state, { open, rename, remove, draw })));
    if (!shown.length)
      body.append(
        h(
          "tr",
          {},
          h("td", { colspan: 10, class: "hint" }, "No run here yet; runs of the playground are kept when they end."),
        ),
      );
  }

  onTab((name) => name === "runs" && reload());
  draw();
}

/** @param {Element} everyone chooses all */
function header(everyone) {
  const names = ["Name", "Mode", "Target", "Ended", "Tokens", "Tokens/s", "τ", "Acceptance", ""];
  return h("thead", {}, h("tr", {}, h("td", {}, everyone), ...names.map((name) => h("th", { scope: "col" }, name))));
}

/** @param {KeptRun} run */
function modeOf({ mode, profiled }) {
  return profiled ? `profile of ${profiled}` : mode;
}

/**
 * @param {KeptRun} run
 * @param {Listed} state
 * @param {Actions} actions
 */
function row(run, state, { open, rename, remove, draw }) {
  const choose = h("input", {
    type: "checkbox",
    "aria-label": `Choose ${run.name}`,
    checked: state.chosen.has(run.run_id),
  });
  choose.addEventListener("change", () => {
    if (choose.checked) state.chosen.add(run.run_id);
    else state.chosen.delete(run.run_id);
    draw();
  });
  const name = h("input", { class: "run-name", value: run.name, "aria-label": "Name", title: run.prompt });
  name.addEventListener("change", () => rename(run, name.value));
  return h(
    "tr",
    { "data-run": run.run_id },
    h("td", {}, choose),
    h("td", {}, name),
    h(
      "td",
      {},
      `${modeOf(run)} `,
      run.lossy_rule ? h("span", { class: "lossy-badge" }, lossyMark(run.lossy_rule)) : "",
    ),
    h("td", { title: run.device }, run.target),
    h("td", {}, run.outcome),
    h("td", { class: "number" }, run.num_tokens?.toLocaleString("en") ?? "–"),
    h("td", { class: "number" }, fixed(run.tokens_per_s, 1)),
    h("td", { class: "number" }, lengthOf(run)),
    h("td", { class: "number" }, acceptanceOf(run)),
    h(
      "td",
      { class: "row-actions" },
      h("button", { type: "button", class: "plain-button", onclick: () => open(run) }, "Open"),
      downloads(run),
      h("button", { type: "button", class: "plain-button", onclick: () => remove(run) }, "Delete"),
    ),
  );
}

/** @param {KeptRun} run */
function lengthOf({ acceptance_length: tau, drafted_length: drafted, tau_is_bound: isBound }) {
  if (tau === null && drafted !== null) return `${fixed(drafted, 2)} with a draft`;
  return (isBound ? "≤ " : "") + fixed(tau, 2);
}

/** @param {KeptRun} run */
function acceptanceOf({ acceptance_rate: rate, num_tested: of, is_import: isImport }) {
  return of ? `${percent(rate)} of ${of.toLocaleString("en")}${isImport ? " drafted" : ""}` : "–";
}

/** @param {KeptRun} run */
function downloads(run) {
  if (run.is_import) {
    const href = address(`archive/${encodeURIComponent(run.run_id)}/file`);
    return h("a", { class: "plain-button", href, download: "" }, "Download");
  }
  const files = [{ name: "runs.csv", label: "Run CSV", help: "One row" }, ...FILES];
  return h(
    "details",
    { class: "menu" },
    h("summary", { class: "plain-button" }, "Download"),
    h(
      "div",
      { class: "menu-list" },
      ...files.map(({ name, label, help }) =>
        h("a", { href: fileAddress(run.run_id, name), download: "", title: help }, label),
      ),
    ),
  );
}
