// What the scripts of all reports share. Texts go in as text nodes only.
"use strict";
function documentParts() {
  const data = JSON.parse(document.getElementById("data").textContent);
  const place = (id) => document.getElementById(id);

  function make(name, className, text) {
    const node = document.createElement(name);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  }

  function drawFigures(wide) {
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const draw = () => {
      const template = data.templates[dark.matches ? "dark" : "light"];
      for (const [name, figure] of Object.entries(data.figures)) {
        const layout = { ...structuredClone(figure.layout), template, autosize: true };
        const options = { responsive: true, displaylogo: false };
        Plotly.react(place(`figure-${name}`), structuredClone(figure.data), layout, options);
      }
    };
    for (const name of Object.keys(data.figures)) {
      const node = make("div", wide.includes(name) ? "figure wide" : "figure");
      node.id = `figure-${name}`;
      place("figures").append(node);
    }
    dark.addEventListener("change", draw);
    draw();
  }

  return { data, place, make, drawFigures };
}
