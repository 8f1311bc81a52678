// A border between two parts that is dragged by pointer or moved by keys; its place is remembered.

import { h } from "./dom.js";

const KEY_PX = 24;

/**
 * A border that sets the style `--name` of the page to pixels; untouched, the style sheet's own holds.
 * `size` tells the present pixels, and `sign` is 1 where moving right or down makes them more.
 *
 * @param {{ name: string, label: string, axis: "x" | "y", sign: 1 | -1, least: number,
 *   most: () => number, size: () => number }} split
 */
export function splitter({ name, label, axis, sign, least, most, size }) {
  const key = `specdecodes-${name}`;
  const { style } = document.documentElement;
  const bar = h("div", {
    class: `splitter ${axis}`,
    role: "separator",
    tabindex: "0",
    title: "Drag to give one part more room; double click for the usual one",
    "aria-label": label,
    "aria-valuemin": String(least),
    "aria-valuenow": String(least),
    "aria-orientation": axis === "x" ? "vertical" : "horizontal",
  });
  const set = (/** @type {number} */ pixels) => {
    const at = Math.round(Math.min(Math.max(pixels, least), Math.max(least, most())));
    style.setProperty(`--${name}`, `${at}px`);
    bar.setAttribute("aria-valuenow", String(at));
    localStorage.setItem(key, String(at));
  };
  const tell = () => bar.setAttribute("aria-valuenow", String(Math.round(size())));
  const reset = () => {
    style.removeProperty(`--${name}`);
    localStorage.removeItem(key);
    tell();
  };
  const stored = Number(localStorage.getItem(key));
  if (stored >= least) style.setProperty(`--${name}`, `${stored}px`);

  /** @type {{ from: number, size: number } | null} */
  let grabbed = null;
  const where = (/** @type {PointerEvent} */ event) => (axis === "x" ? event.clientX : event.clientY);
  bar.addEventListener("pointerdown", (event) => {
    grabbed = { from: where(event), size: size() };
    bar.setPointerCapture(event.pointerId);
    event.preventDefault();
  });
  bar.addEventListener("pointermove", (event) => {
    if (grabbed && where(event) !== grabbed.from) set(grabbed.size + sign * (where(event) - grabbed.from));
  });
  bar.addEventListener("lostpointercapture", () => {
    grabbed = null;
  });
  bar.addEventListener("dblclick", reset);
  bar.addEventListener("focus", tell);
  /** @type {Record<string, number>} */
  const moves = axis === "x" ? { ArrowLeft: -KEY_PX, ArrowRight: KEY_PX } : { ArrowUp: -KEY_PX, ArrowDown: KEY_PX };
  bar.addEventListener("keydown", (event) => {
    if (event.key in moves) set(size() + sign * moves[event.key]);
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  return bar;
}
