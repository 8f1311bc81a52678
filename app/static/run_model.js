// One run, made from its events. Pure: the views only read it.

import { phaseTimes } from "./bars_data.js";

export const SOURCES = ["accepted", "recovered", "bonus", "plain"];
export const REFUSED = ["rejected", "untested"];

export class RunModel {
  constructor(id) {
    this.id = id;
    this.numEvents = 0;
    this.turn = { user: "", mode: "", replaces: null };
    this.status = { phase: "queued", text: "", done: 0, total: 0 };
    this.stats = null;
    this.started = null;
    this.prefilled = null;
    this.drafterFailed = null;
    this.steps = [];
    this.tokens = [];
    this.tailText = "";
    this.counts = Object.fromEntries([...SOURCES, ...REFUSED].map((name) => [name, 0]));
    this._texts = new Map();
    this._open = null;
  }

  get isEnded() {
    return this.status.phase === "ended" || this.status.phase === "failed";
  }

  get text() {
    return this.tokens.map((token) => token.text).join("") + this.tailText;
  }

  /** Seconds from the start of the run to its first token. */
  get firstTokenS() {
    return this.steps.length ? this.steps[0].committed.t_end_s : null;
  }

  /** Milliseconds of a forward over one token, as measured before the run; null if it was not. */
  get plainMs() {
    return this.started?.target.forward_ms?.["1"] ?? null;
  }

  /** The acceptance rule if it changes the output's distribution, else empty. */
  get lossyRule() {
    return this.started?.lossy_rule ?? "";
  }

  textOf(tokenId) {
    return this._texts.get(tokenId) ?? `#${tokenId}`;
  }

  /** Takes over one event; they must come in order. */
  apply(event) {
    this.numEvents += 1;
    switch (event.kind) {
      case "run_started":
        this.started = event;
        break;
      case "token_texts":
        event.token_ids.forEach((id, place) => this._texts.set(id, event.texts[place]));
        break;
      case "prefilled":
        this.prefilled = event;
        break;
      case "drafted":
        this._open = { number: event.step, drafted: event };
        break;
      case "verified":
        this._open.verified = event;
        break;
      case "accepted":
        this._open.accepted = event;
        break;
      case "committed":
        this._close(event);
        break;
      case "drafter_failed":
        this.drafterFailed = event;
        break;
      case "run_finished":
        this.tailText = event.tail_text;
        break;
    }
  }

  _close(committed) {
    const step = this._open;
    this._open = null;
    step.committed = committed;
    step.index = this.steps.length;
    step.firstToken = this.tokens.length;
    step.states = nodeStates(step);
    step.times = phaseTimes(step);
    this.steps.push(step);
    for (const state of step.states) if (REFUSED.includes(state)) this.counts[state] += 1;
    committed.token_ids.forEach((id, place) => {
      const source = committed.sources[place];
      this.counts[source] += 1;
      this.tokens.push({
        index: this.tokens.length,
        step: step.index,
        id,
        text: committed.texts[place],
        source,
        node: committed.nodes[place],
      });
    });
  }
}

/** What became of every node of a step's tree: root, accepted, rejected or untested. */
export function nodeStates({ drafted, accepted }) {
  const states = drafted.token_ids.map(() => "untested");
  for (const node of accepted.tested) states[node] = "rejected";
  for (const node of accepted.path) states[node] = "accepted";
  states[0] = "root";
  return states;
}

/** All that is known of an emitted token, for its card. */
export function describeToken(run, token) {
  const step = run.steps[token.step];
  if (token.node >= 0) return { ...describeNode(run, step, token.node), text: emitted(run, token) };
  const { path, next_prob: targetProb } = step.accepted;
  return {
    text: emitted(run, token),
    id: token.id,
    step: step.number,
    depth: path.length + 1,
    source: token.source,
    targetProb,
    draftProb: null,
    alternatives: alternatives(run, step, path.at(-1) ?? 0, token.id),
  };
}

/** All that is known of a drafted node, for its card. */
export function describeNode(run, step, node) {
  const { drafted, verified } = step;
  const id = drafted.token_ids[node];
  return {
    text: run.textOf(id),
    id,
    step: step.number,
    depth: drafted.depths[node],
    source: step.states[node],
    targetProb: verified.target_probs[node] ?? null,
    draftProb: drafted.draft_probs[node] ?? null,
    alternatives: node === 0 ? [] : alternatives(run, step, drafted.parents[node], id),
    drafterChoices: node === 0 ? [] : choices(run, drafted, drafted.parents[node], id),
    why: step.states[node] === "rejected" ? whyRefused(run, step, node) : null,
  };
}

// A token that completes no character has no text of its own; its bytes tell more.
function emitted(run, token) {
  return token.text || run.textOf(token.id);
}

/** Why a tested node was not kept: by which rule, by what noise, and where its threshold lay. */
export function whyRefused(run, { drafted, verified, accepted }, node) {
  const { accept = "match", sampling = {} } = run.started?.config ?? {};
  const parent = drafted.parents[node];
  const path = [0, ...accepted.path];
  const next = path[path.indexOf(parent) + 1];
  const ownId = next === undefined ? accepted.next_token_id : drafted.token_ids[next];
  const own = ownId === null ? null : run.textOf(ownId);
  const place = accepted.tested.indexOf(node);
  return {
    rule: sampling.do_sample ? accept : "greedy",
    own,
    target: verified.target_probs[node] ?? null,
    // undefined where the trace does not say, null where there is none
    noise: accepted.noises?.[place],
    threshold: accepted.thresholds?.[place],
  };
}

function alternatives(run, step, parent, chosenId) {
  return choices(run, step.verified, parent, chosenId);
}

/** The recorded choices of a model after a node; `event` is the draft or the verification. */
function choices(run, event, parent, chosenId) {
  const ids = event.top_k_token_ids[parent] ?? [];
  const probs = event.top_k_probs[parent] ?? [];
  return ids.map((id, place) => ({
    id,
    text: run.textOf(id),
    prob: probs[place],
    isChosen: id === chosenId,
  }));
}

/** The token of a step that stands for a node: accepted nodes have one, others do not. */
export function tokenOfNode(run, step, node) {
  const place = step.committed.nodes.indexOf(node);
  return place < 0 ? null : run.tokens[step.firstToken + place];
}
