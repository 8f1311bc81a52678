// What the scripts of all reports share. Texts go in as text nodes only.
"use strict";
function documentParts() {
  const place = (/** @type {string} */ id) => /** @type {HTMLElement} */ (document.getElementById(id));
  const data = JSON.parse(place("data").textContent);

  /**
   * @param {string} name
   * @param {string} [className]
   * @param {string} [text]
   */
  function make(name, className, text) {
    const node = document.createElement(name);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  /** @param {string[]} wide */
  function drawFigures(wide) {
    /** @type {[string, { data: object[], layout: object }][]} */
    const figures = Object.entries(data.figures);
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const draw = () => {
      const template = data.templates[dark.matches ? "dark" : "light"];
      for (const [name, figure] of figures) {
        const layout = { ...structuredClone(figure.layout), template, autosize: true };
        const options = { responsive: true, displaylogo: false };
        Plotly.react(place(`figure-${name}`), structuredClone(figure.data), layout, options);
      }
    };
    for (const [name] of figures) {
      const node = make("div", wide.includes(name) ? "figure wide" : "figure");
      node.id = `figure-${name}`;
      place("figures").append(node);
    }
    dark.addEventListener("change", draw);
    draw();
  }

  /** @param {{ title: string, columns: string[], rows: string[][], note: string }} table */
  function table({ title, columns, rows, note }) {
    const body = make("table");
    const head = make("tr");
    head.append(...columns.map((name) => make("th", "", name)));
    body.append(head);
    for (const cells of rows) {
      const row = make("tr");
      row.append(...cells.map((cell) => make("td", "", cell)));
      body.append(row);
    }
    const scroll = make("div", "scroll");
    scroll.append(body);
    place("tables").append(make("h3", "", title), scroll, make("p", "", note));
  }

  const drawTables = () => data.tables.forEach(table);

  return { data, place, make, drawFigures, drawTables };
}
