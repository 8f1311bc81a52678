// Whether a model is there: one line, with a gauge while it loads. The server is asked for it.

import { h, setText } from "./dom.js";
import { bytes } from "./format.js";
import { getJson } from "./net.js";

/** @import { StatusListener, ViewContext } from "./page_types.d.ts" */
/** @import { PoolStatus } from "./types.d.ts" */

const BUSY_MS = 400;
const QUIET_MS = 4000;
/** @type {StatusListener[]} */
const listeners = [];
/** @type {() => unknown} */
let readNow = () => {};

/** Asks the server at once: something was just begun or ended. */
export const refreshStatus = () => readNow();

/**
 * Calls back with the status whenever it is read.
 *
 * @param {StatusListener} listener
 */
export function onStatus(listener) {
  listeners.push(listener);
}

/**
 * The sentence of a status, with sizes where bytes are counted.
 *
 * @param {Pick<PoolStatus, "text" | "done" | "total">} status
 */
export function statusLine({ text, done, total }) {
  // Stages that count bytes have totals far above those that count files or tensors.
  return total > 1e6 ? `${text} ${bytes(done)} of ${bytes(total)}` : text;
}

/** @param {ViewContext} context */
export function mount({ element }) {
  const text = h("span", { class: "status-text" });
  const gauge = h("span", { class: "gauge", hidden: true });
  element.setAttribute("role", "status");
  element.append(h("span", { class: "dot" }), text, gauge);

  let timer = 0;
  async function read() {
    clearTimeout(timer);
    let wait = QUIET_MS;
    try {
      /** @type {PoolStatus} */
      const status = await getJson("status.json");
      element.dataset.phase = status.phase;
      setText(text, statusLine(status));
      gauge.hidden = status.total === 0 || status.phase !== "loading";
      gauge.style.setProperty("--share", String(status.total ? status.done / status.total : 0));
      for (const listener of listeners) listener(status);
      if (status.phase === "loading") wait = BUSY_MS;
    } catch {
      element.dataset.phase = "failed";
      setText(text, "The program does not answer; start it again.");
    }
    clearTimeout(timer);
    timer = setTimeout(read, wait);
  }
  readNow = read;
  read();
}
