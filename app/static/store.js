// The one state of the page: chat, runs, selection. Views subscribe and draw once a frame.

import { RunModel } from "./run_model.js";

/** @import { AskFork, Changes, Drawing } from "./page_types.d.ts" */
/** @import { RunMessage, TurnHead } from "./types.d.ts" */

export class Store {
  /** `schedule` calls back before the next frame; tests bring their own. */
  constructor(schedule = (/** @type {() => void} */ draw) => void requestAnimationFrame(draw)) {
    /** Ids of the runs that the chat shows, a branch of each turn, oldest first. @type {string[]} */
    this.turns = [];
    /** All runs of the chat, oldest first. @type {Map<string, RunModel>} */
    this.runs = new Map();
    /** Which branch of a turn is shown. @type {Map<string, string>} */
    this._shown = new Map();
    /** Begins a branch. @type {AskFork | null} */
    this.onFork = null;
    this.notice = "";
    this.showRefused = false;
    this.colorMode = "source";
    /** @type {((request: string) => Promise<string>) | null} */
    this.ask = null;
    /** Told when a kept run was made a turn. @type {(() => void) | null} */
    this.onOpen = null;
    this._schedule = schedule;
    /** @type {Drawing[]} */
    this._views = [];
    /** @type {Set<string>} */
    this._dropped = new Set();
    /** @type {Set<string>} */
    this._asking = new Set();
    /** @type {{ run: string, step: number, token: number | null } | null} */
    this._pinned = null;
    /** @type {Changes | null} */
    this._changed = null;
  }

  /**
   * Calls `draw(changes)` in the next frame after something changed, and once now.
   *
   * @param {Drawing} draw
   */
  subscribe(draw) {
    this._views.push(draw);
    draw({ chat: true, selection: true, runs: new Set(this.runs.keys()) });
  }

  /**
   * Takes over one message of the server, a JSON string.
   *
   * @param {string} json
   */
  receive(json) {
    const message = JSON.parse(json);
    if ("clear" in message) this._clear();
    else if ("notice" in message) this.tell(message.notice);
    else if (!this._dropped.has(message.run)) this.take(message);
  }

  /**
   * Shows a sentence below the chat, until the next turn.
   *
   * @param {string} notice
   */
  tell(notice) {
    this.notice = notice;
    this.touch({ chat: true });
  }

  /**
   * Takes over what is new of one run; a gap is asked for.
   *
   * @param {RunMessage} message
   */
  take(message) {
    let run = this.runs.get(message.run);
    if (!run && message.turn) run = this._open(message.run, message.turn);
    if (!run || message.seq > run.numEvents) return this._fill(message.run, run);
    const wasStarted = run.started !== null;
    for (const event of message.events.slice(run.numEvents - message.seq)) run.apply(event);
    if (run.started && !wasStarted) this._gather();
    const wasEnded = run.isEnded;
    run.status = message.status;
    if (message.stats) run.stats = message.stats;
    if (message.pauses) run.pauses = message.pauses;
    this.touch({ run: run.id, chat: wasEnded !== run.isEnded || wasStarted !== (run.started !== null) });
  }

  /**
   * @param {string} id
   * @param {TurnHead} turn
   */
  _open(id, turn) {
    const run = new RunModel(id);
    if (turn.replaces) this._drop(turn.replaces);
    // A run that was opened from elsewhere follows upon what is there.
    const isKnown = turn.turn !== id || (turn.after !== null && this.runs.has(turn.after));
    run.turn = isKnown ? turn : { ...turn, after: this.turns.at(-1) ?? null };
    this.runs.set(id, run);
    this._shown.set(run.turn.turn, id);
    this._arrange();
    this.notice = "";
    this._pinned = null;
    this.touch({ chat: true, selection: true });
    return run;
  }

  /** Tells branches their parents; those that were opened from elsewhere stand beside them. */
  _gather() {
    for (const run of this.runs.values()) {
      if (!run.started?.parent) continue;
      const parent = [...this.runs.values()].find(({ started }) => started?.run_id === run.started?.parent);
      if (!parent || parent === run) continue;
      run.parent = parent;
      if (run.turn.turn !== run.id) continue;
      if (parent.turn.after === run.id) parent.turn = { ...parent.turn, after: run.turn.after };
      const { turn, after } = parent.turn;
      run.turn = { ...run.turn, turn, after };
      this._shown.set(turn, run.id);
    }
    this._arrange();
  }

  /** Finds the turns that are shown: of each the branch that was chosen, and what follows upon it. */
  _arrange() {
    /** @type {string[]} */
    const turns = [];
    for (let after = null; ; after = turns[turns.length - 1]) {
      const next = [...this.runs.values()].filter(({ turn }) => turn.after === after).at(-1);
      if (!next) break;
      const shown = this.runs.get(this._shown.get(next.turn.turn) ?? "") ?? next;
      if (turns.includes(shown.id)) break;
      turns.push(shown.id);
    }
    this.turns = turns;
  }

  /**
   * The branches of a run's turn, itself among them, oldest first.
   *
   * @param {RunModel} run
   */
  branchesOf(run) {
    return [...this.runs.values()].filter(({ turn }) => turn.turn === run.turn.turn);
  }

  /**
   * Shows a branch of the chat, and what came before and after it.
   *
   * @param {string} id
   */
  show(id) {
    for (let run = this.runs.get(id); run; run = this.runs.get(run.turn.after ?? "")) {
      this._shown.set(run.turn.turn, run.id);
    }
    this._arrange();
    if (this._pinned && !this.turns.includes(this._pinned.run)) this._pinned = null;
    this.touch({ chat: true, selection: true });
  }

  /**
   * A gap: a view that was not there has missed messages, so the server is asked for them.
   *
   * @param {string} id
   * @param {RunModel | undefined} run
   */
  async _fill(id, run) {
    if (!this.ask || this._asking.has(id)) return;
    this._asking.add(id);
    try {
      const json = await this.ask(`${id}:${run ? run.numEvents : 0}`);
      if (json) this.receive(json);
    } finally {
      this._asking.delete(id);
    }
  }

  /** @param {string} id */
  _drop(id) {
    this._dropped.add(id);
    this.runs.delete(id);
    this._arrange();
    if (this._pinned?.run === id) this._pinned = null;
  }

  _clear() {
    for (const id of [...this.runs.keys()]) this._drop(id);
    this.notice = "";
    this.touch({ chat: true, selection: true });
  }

  /** The run that the instruments show: the selected one, else the last of the chat. */
  get current() {
    return this.runs.get(this._pinned?.run ?? this.turns.at(-1) ?? "") ?? null;
  }

  get isBusy() {
    return [...this.runs.values()].some((run) => !run.isEnded);
  }

  get isPinned() {
    return this._pinned !== null;
  }

  /** The selected step of the current run; without a selection the newest one. */
  get step() {
    const steps = this.current?.steps ?? [];
    return steps[this._pinned?.step ?? steps.length - 1] ?? null;
  }

  /** The selected token's index in the current run, or null. */
  get token() {
    return this._pinned?.token ?? null;
  }

  /**
   * @param {string} runId
   * @param {number} step
   * @param {number | null} [token]
   */
  select(runId, step, token = null) {
    if (this.runs.has(runId) && !this.turns.includes(runId)) this.show(runId);
    this._pinned = { run: runId, step, token };
    this.touch({ selection: true });
  }

  /**
   * Selects the step so many before or after the present one, within the run.
   *
   * @param {number} steps
   */
  walk(steps) {
    const { current: run, step } = this;
    if (!run?.steps.length) return;
    const last = run.steps.length - 1;
    const index = Math.min(last, Math.max(0, (step?.index ?? last) + steps));
    this.select(run.id, index);
  }

  /**
   * Adds a kept run as a turn of its own, or shows it where it is one already; before it come the runs
   * that it is a branch of.
   *
   * @param {RunMessage[]} messages the run's is the last one
   */
  open(messages) {
    for (const message of messages) {
      this._dropped.delete(message.run);
      this.take(message);
    }
    const last = messages.at(-1);
    if (last) this.select(last.run, 0);
    this.onOpen?.();
  }

  /**
   * How answers are shown: their tokens coloured by `source`, `target`, `gap` or `time`, or as `markdown`.
   *
   * @param {string} mode
   */
  setColorMode(mode) {
    this.colorMode = mode;
    this.touch({ chat: true });
  }

  /** Lets go of the selection: the instruments follow the newest step again. */
  release() {
    if (!this._pinned) return;
    this._pinned = null;
    this.touch({ selection: true });
  }

  /** @param {boolean} show */
  setShowRefused(show) {
    this.showRefused = show;
    this.touch({ chat: true });
  }

  /** @param {{ chat?: boolean, selection?: boolean, run?: string | null }} changes */
  touch({ chat = false, selection = false, run = null }) {
    if (!this._changed) {
      this._changed = { chat: false, selection: false, runs: new Set() };
      this._schedule(() => this._draw());
    }
    this._changed.chat ||= chat;
    this._changed.selection ||= selection;
    if (run) this._changed.runs.add(run);
  }

  _draw() {
    const changes = this._changed;
    this._changed = null;
    if (!changes) return;
    for (const draw of this._views) draw(changes);
  }
}
