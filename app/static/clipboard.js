// The clipboard, also on pages served without TLS to other machines, where it needs the old way.

import { h } from "./dom.js";

/** @param {string} text */
export async function copyText(text) {
  if (navigator.clipboard && window.isSecureContext) return navigator.clipboard.writeText(text);
  const area = h("textarea", { class: "off-screen" }, text);
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
