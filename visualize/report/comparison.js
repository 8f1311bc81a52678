// Draws a comparison of modes from its data.
"use strict";
{
  const { data, place, drawFigures, drawTables } = documentParts();

  place("subtitle").textContent = data.subtitle;
  place("command").textContent = data.command;
  place("settings").textContent = JSON.stringify(data.configs, null, 2);
  drawTables();
  drawFigures(["ratio_by_category"]);
}
