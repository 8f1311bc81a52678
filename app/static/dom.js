// The only way this page makes nodes: texts become text nodes, never markup.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : String(value));
  }
  node.append(...children);
  return node;
}

/** An HTML element; `on…` attributes are listeners, children are nodes or plain texts. */
export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

/** The same for SVG. */
export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

/** Sets a text only where it differs, which spares the browser the layout. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Calls back with every value that Python sends to a component, the present one included. */
export function onValue({ props, watch }, receive) {
  const read = () => props.value && receive(props.value);
  watch("value", read);
  read();
}
