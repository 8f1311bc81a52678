// Draws the report of files of other programs from its data.
"use strict";
{
  const { data, place, drawFigures, drawTables } = documentParts();
  place("subtitle").textContent = data.subtitle;
  drawTables();
  drawFigures([]);
}
