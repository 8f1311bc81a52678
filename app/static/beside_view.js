// Files of other programs, and runs beside them: tables of texts and the server's figures of them.

import { h } from "./dom.js";
import { figureOf } from "./gallery.js";
import { address, getJson, messageOf } from "./net.js";
import { loadPlotly } from "./plotly.js";

/** @import { Beside, BesideTable } from "./types.d.ts" */

/** A place for them, and what shows runs and files by their ids in it. */
export function besideView() {
  const panel = h("section", { class: "beside", hidden: true, "aria-label": "Side by side" });
  /** @type {string[]} */
  let shown = [];

  /** @param {string[]} ids */
  async function show(ids) {
    shown = ids;
    panel.hidden = false;
    const hint = h("p", { class: "hint", role: "status" }, "Reading…");
    panel.replaceChildren(hint);
    const theme = document.body.classList.contains("dark") ? "dark" : "light";
    const asked = `ids=${ids.map(encodeURIComponent).join(",")}`;
    try {
      const [plotly, beside] = await Promise.all([
        loadPlotly(),
        getJson(`archive/beside.json?${asked}&theme=${theme}`),
      ]);
      if (shown === ids) draw(plotly, beside, asked);
    } catch (error) {
      hint.textContent = messageOf(error);
      hint.setAttribute("role", "alert");
    }
  }

  /**
   * @param {Awaited<ReturnType<typeof loadPlotly>>} plotly
   * @param {Beside} beside
   * @param {string} asked
   */
  function draw(plotly, { names, tables, figures }, asked) {
    const close = h("button", { type: "button", class: "plain-button", onclick: hide }, "Close");
    const report = h(
      "a",
      {
        class: "download",
        href: address(`archive/beside.html?${asked}`),
        download: "",
        title: "All of it in one file",
      },
      "Report",
    );
    const drawn = Object.entries(figures).map(([name, figure]) =>
      figureOf(plotly, { name, figure, csv: "", revision: asked }),
    );
    panel.replaceChildren(
      h("div", { class: "list-tools" }, h("h3", {}, names.join(" · ")), h("span", { class: "spacer" }), report, close),
      ...tables.slice(0, 1).map((table) => tableOf(table, asked)),
      h("div", { class: "figure-grid" }, ...drawn),
      ...tables.slice(1).map((table) => h("details", {}, h("summary", {}, table.title), tableOf(table, asked))),
    );
    panel.scrollIntoView({ block: "nearest" });
  }

  function hide() {
    shown = [];
    panel.hidden = true;
    panel.replaceChildren();
  }

  window.addEventListener("themechange", () => shown.length && show(shown));
  return { panel, show };
}

/**
 * @param {BesideTable} table
 * @param {string} asked
 */
function tableOf({ name, title, columns, rows, note }, asked) {
  const csv = address(`archive/beside/${name}.csv?${asked}`);
  return h(
    "div",
    { class: "beside-table", "data-table": name },
    h(
      "div",
      { class: "table-scroller", tabindex: "0", role: "region", "aria-label": title },
      h(
        "table",
        { class: "comparison-table" },
        h("thead", {}, h("tr", {}, ...columns.map((column) => h("th", { scope: "col" }, column)))),
        h("tbody", {}, ...rows.map((cells) => h("tr", {}, ...cells.map((cell) => h("td", {}, cell))))),
      ),
    ),
    h("p", { class: "hint note" }, note),
    h("a", { class: "download", href: csv, download: "" }, `${name}.csv`),
  );
}
