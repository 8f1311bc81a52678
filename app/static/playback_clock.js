// Replays a run on the clock of its own times, at true or slowed speed.

import { store } from "./page.js";

/** @import { Step } from "./page_types.d.ts" */
/** @import { RunModel } from "./run_model.js" */

/**
 * The step that a run is in at a time in seconds: the last one that has ended, or -1.
 *
 * @param {Pick<Step, "committed">[]} steps
 * @param {number} seconds
 */
export function stepAt(steps, seconds) {
  let low = 0;
  let high = steps.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (steps[middle].committed.t_end_s <= seconds) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

class Playback {
  constructor() {
    this.speed = 1;
    this.isPlaying = false;
    /** @type {(() => void)[]} */
    this._listeners = [];
    /** @type {RunModel | null} */
    this._run = null;
    this._fromS = 0;
    this._startedMs = 0;
    this._frame = 0;
  }

  /** @param {() => void} listener */
  onChange(listener) {
    this._listeners.push(listener);
  }

  toggle() {
    if (this.isPlaying) this.pause();
    else this._play();
  }

  pause() {
    this.isPlaying = false;
    this._tell();
  }

  /** @param {number} speed */
  setSpeed(speed) {
    this.speed = speed;
    if (this.isPlaying) this._begin();
  }

  _play() {
    const { current: run, step } = store;
    if (!run?.steps.length) return;
    const isAtEnd = !step || step.index === run.steps.length - 1;
    store.select(run.id, isAtEnd ? 0 : step.index);
    this.isPlaying = true;
    this._begin();
    this._tell();
  }

  _begin() {
    this._run = store.current;
    this._fromS = store.step?.committed.t_end_s ?? 0;
    this._startedMs = performance.now();
    cancelAnimationFrame(this._frame);
    this._frame = requestAnimationFrame(() => this._advance());
  }

  _advance() {
    if (!this.isPlaying) return;
    if (!this._run || store.current !== this._run) return this.pause();
    const { steps } = this._run;
    const at = this._fromS + ((performance.now() - this._startedMs) / 1e3) * this.speed;
    const index = stepAt(steps, at);
    if (index > (store.step?.index ?? -1)) store.select(this._run.id, index);
    if (index >= steps.length - 1 && this._run.isEnded) return this.pause();
    this._frame = requestAnimationFrame(() => this._advance());
  }

  _tell() {
    for (const listener of this._listeners) listener();
  }
}

export const playback = new Playback();
