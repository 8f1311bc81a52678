// Draws a comparison of modes from its data.
"use strict";
{
  const { data, place, make, drawFigures } = documentParts();

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

  place("subtitle").textContent = data.subtitle;
  place("command").textContent = data.command;
  place("settings").textContent = JSON.stringify(data.configs, null, 2);
  data.tables.forEach(table);
  drawFigures(["ratio_by_category"]);
}
