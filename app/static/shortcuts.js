// Keys that work on the whole playground, and the list of them.

import { h } from "./dom.js";
import { frame } from "./frame.js";
import { store } from "./page.js";
import { playback } from "./playback_clock.js";
import { stage } from "./stage.js";

const ZOOM = 1.25;

/** Keys, and what they do. @type {[string, string][]} */
const KEYS = [
  ["← →", "step before or after; in the answer, token before or after"],
  ["Home End", "first or last step"],
  ["Space", "play or pause"],
  ["f", "draft tree or run map over the whole page, or back"],
  ["e", "explain this step"],
  [", .", "part before or after, of a step that is explained"],
  ["Esc", "from the whole page back; else let go of the selection"],
  ["+ − 0", "zoom the draft tree or run map, or fit it again"],
  ["r", "show or hide refused drafts in the text"],
  ["/", "write a message"],
  ["?", "this list"],
];

/**
 * Whether a key belongs to something that is being written or operated.
 *
 * @param {KeyboardEvent} event
 */
function isTaken({ key, target, ctrlKey, metaKey, altKey }) {
  if (ctrlKey || metaKey || altKey) return true;
  if (!(target instanceof Element)) return false;
  if (target.closest("input, textarea, select, .token, dialog, [role=listbox], [role=separator]")) return true;
  // A button that was clicked keeps the focus; it hears what presses it, and nothing else.
  return key === " " && target.closest("button, a, [role=button]") !== null;
}

/** @type {Record<string, () => void>} */
const ACTIONS = {
  ArrowLeft: () => store.walk(-1),
  ArrowRight: () => store.walk(1),
  Home: () => store.walk(-Infinity),
  End: () => store.walk(Infinity),
  " ": () => playback.toggle(),
  f: () => stage.toggle(),
  e: () => stage.choose("explain"),
  ",": () => stage.onMove(-1),
  ".": () => stage.onMove(1),
  Escape: () => (stage.isLarge ? stage.enlarge(false) : store.release()),
  "+": () => stage.zoom(ZOOM),
  "=": () => stage.zoom(ZOOM),
  "-": () => stage.zoom(1 / ZOOM),
  0: () => stage.fit(),
  r: () => store.setShowRefused(!store.showRefused),
  "/": () => /** @type {HTMLElement | null} */ (document.querySelector("#message textarea"))?.focus(),
};

/** Listens; returns what shows the list. */
export function mountShortcuts() {
  /** @type {HTMLDialogElement} */
  const dialog = h(
    "dialog",
    { class: "shortcuts", "aria-label": "Keyboard shortcuts" },
    h("h2", {}, "Keyboard shortcuts"),
    h("dl", {}, ...KEYS.flatMap(([key, text]) => [h("dt", {}, h("kbd", {}, key)), h("dd", {}, text)])),
    h("button", { type: "button", class: "plain-button", onclick: () => dialog.close() }, "Close"),
  );
  document.body.append(dialog);
  const show = () => dialog.open || dialog.showModal();
  document.addEventListener("keydown", (event) => {
    if (isTaken(event) || frame().dataset.tab !== "playground") return;
    const act = event.key === "?" ? show : ACTIONS[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
  return show;
}
