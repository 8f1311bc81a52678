// The scrubber: walks the steps of a run by hand or on its own clock.

import { h, setText } from "./dom.js";
import { icon } from "./icons.js";
import { store } from "./page.js";
import { playback } from "./playback_clock.js";

/** @import { ViewContext } from "./page_types.d.ts" */

/** @type {[number, string][]} */
const SPEEDS = [
  [1, "true speed"],
  [0.5, "½ speed"],
  [0.2, "⅕ speed"],
  [0.05, "1/20 speed"],
];

/** @param {ViewContext} context */
export function mount({ element }) {
  /**
   * @param {Parameters<typeof icon>[0]} name
   * @param {string} label
   * @param {() => void} onclick
   */
  const button = (name, label, onclick) =>
    h("button", { type: "button", class: "icon-button", title: label, "aria-label": label, onclick }, icon(name));
  const play = button("play", "Play or pause", () => playback.toggle());
  const slider = h("input", { type: "range", class: "scrubber", min: 1, max: 1, value: 1, "aria-label": "Step" });
  const place = h("span", { class: "place" });
  const speed = h(
    "select",
    { class: "small-select", "aria-label": "Speed", onchange: ({ target }) => playback.setSpeed(Number(target.value)) },
    ...SPEEDS.map(([value, label]) => h("option", { value }, label)),
  );
  element.append(
    h(
      "div",
      { class: "playback" },
      button("back", "Step before", () => store.walk(-1)),
      play,
      button("next", "Step after", () => store.walk(1)),
      slider,
      place,
      speed,
    ),
  );
  slider.addEventListener("input", () => {
    playback.pause();
    if (store.current) store.select(store.current.id, slider.valueAsNumber - 1);
  });
  playback.onChange(() => play.replaceChildren(icon(playback.isPlaying ? "pause" : "play")));
  store.subscribe(() => {
    const count = store.current?.steps.length ?? 0;
    slider.max = String(Math.max(1, count));
    slider.disabled = count === 0;
    slider.value = String(store.step?.number ?? 1);
    setText(place, count ? `${store.step?.number ?? count} / ${count.toLocaleString("en")}` : "–");
  });
}
