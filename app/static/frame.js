// The element that carries the state of the whole page, for styles: which tab, whether busy.
// Gradio scopes the page's styles to its container, so the body would be out of their reach.

/** @type {HTMLElement | null} */
let found = null;

export function frame() {
  found ??= /** @type {HTMLElement} */ (document.querySelector("#workspace")?.parentElement);
  found.classList.add("frame");
  return found;
}
