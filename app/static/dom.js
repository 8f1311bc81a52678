// The only way this page makes nodes: texts become text nodes, never markup.

/** @import { Attributes, Child, ViewContext } from "./page_types.d.ts" */
/** @import { Notice } from "./types.d.ts" */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @template {Element} T
 * @param {T} node
 * @param {Attributes} attributes
 * @param {Child[]} children
 */
function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), /** @type {EventListener} */ (value));
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children);
  return node;
}

/**
 * An HTML element; `on…` attributes are listeners, children are nodes or plain texts.
 *
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Attributes} [attributes]
 * @param {Child[]} children
 */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/**
 * The same for SVG.
 *
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} tag
 * @param {Attributes} [attributes]
 * @param {Child[]} children
 */
export function svg(tag, attributes = {}, ...children) {
  const node = /** @type {SVGElementTagNameMap[K]} */ (document.createElementNS(SVG, tag));
  return fill(node, attributes, children);
}

/**
 * Sets a text only where it differs, which spares the browser the layout.
 *
 * @param {Node} node
 * @param {string} text
 */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/**
 * Shows a refusal in its place, which any other message hides; returns whether it is one.
 *
 * @param {HTMLElement} place
 * @param {object} message
 * @returns {message is Notice}
 */
export function showNotice(place, message) {
  const refused = "notice" in message ? String(message.notice) : "";
  setText(place, refused);
  place.hidden = !refused;
  return "notice" in message;
}

/**
 * Calls back with every value that Python sends to a component, the present one included.
 *
 * @param {Pick<ViewContext, "props" | "watch">} context
 * @param {(json: string) => void} receive
 */
export function onValue({ props, watch }, receive) {
  const read = () => props.value && receive(props.value);
  watch("value", read);
  read();
}
