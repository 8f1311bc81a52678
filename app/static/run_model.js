// One run, made from its events. Pure: the views only read it.

/** @import { Choice, ForkPlace, NodeState, Source, Step, Token, TokenFacts, Trial } from "./page_types.d.ts" */
/** @import { Accepted, Committed, Drafted, DrafterFailed, Observed, PageEvent, Pauses, Prefilled, RunStarted, RunStatus, ServerTotals, Stats, TurnHead, Verified } from "./types.d.ts" */

/** @type {Source[]} */
export const SOURCES = [
  "accepted",
  "remembered",
  "forced",
  "recovered",
  "bonus",
  "plain",
  "untold",
  "inherited",
  "chosen",
];
/** @type {NodeState[]} */
export const REFUSED = ["rejected", "untested"];

// Of a run whose start is not there.
const NO_SENTENCES = { told: "", untold: "", impossible: "", kept: "", kept_untold: "" };

export class RunModel {
  /** @param {string} id */
  constructor(id) {
    this.id = id;
    this.numEvents = 0;
    /** @type {TurnHead} */
    this.turn = { user: "", mode: "", replaces: null, turn: id, after: null };
    /** @type {RunStatus} */
    this.status = { phase: "queued", text: "", done: 0, total: 0 };
    /** @type {Stats | null} */
    this.stats = null;
    /** @type {Pauses | null} */
    this.pauses = null;
    /** @type {RunStarted | null} */
    this.started = null;
    /** The answer that this is a branch of, where it is known; the store sets it. @type {RunModel | null} */
    this.parent = null;
    /** @type {Prefilled | null} */
    this.prefilled = null;
    /** @type {DrafterFailed | null} */
    this.drafterFailed = null;
    /** @type {ServerTotals | null} */
    this.serverTotals = null;
    /** @type {Step[]} */
    this.steps = [];
    /** @type {Token[]} */
    this.tokens = [];
    this.tailText = "";
    /** What a stop string cut off the end, itself with it. */
    this.cutText = "";
    /** @type {Record<string, number>} */
    this.counts = Object.fromEntries([...SOURCES, ...REFUSED].map((name) => [name, 0]));
    /** @type {Map<number, string>} */
    this._texts = new Map();
    /** The step whose events are coming. @type {Partial<Step>} */
    this._open = {};
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
  /** Why its number format lets drafts change the text; empty where it does not. */
  get rounding() {
    return this.started?.target.rounding ?? "";
  }

  /** Why the host decides steps that the device could do alone; empty where it does not. */
  get hostSteps() {
    return this.started?.target.host_steps ?? "";
  }

  /** How a draft model with another vocabulary drafts; empty for all others. */
  get draftsBy() {
    return this.started?.draft?.drafts_by ?? "";
  }

  /** What else is to be known of what drafts. */
  get draftNote() {
    return this.started?.draft?.note ?? "";
  }

  /** How many earlier answers lookup searched; null where it searched none. */
  get memory() {
    return this.started?.memory ?? null;
  }

  /** The server that answers, in words; empty where our own engine does. */
  get server() {
    const server = this.started?.server;
    return server ? `${server.kind} ${server.version}`.trim() : "";
  }

  /** Where a server's own totals are not what its stream showed, in a sentence. */
  get serverDifferences() {
    const found = this.serverTotals?.differences ?? [];
    return found.map(({ name, told, seen }) => `${name}: it tells ${told}, its stream showed ${seen}`).join("; ");
  }

  /** Place of the first token that was chosen for a branch, from 0; null for a run that is none. */
  get forkedAt() {
    return this.started?.forked_at ?? null;
  }

  /** What was chosen there. */
  get chosenText() {
    const id = this.started?.prefix_token_ids[this.forkedAt ?? 0];
    return id === undefined ? "" : this.textOf(id);
  }

  get lossyRule() {
    return this.started?.lossy_rule ?? "";
  }

  /** @param {number} tokenId */
  textOf(tokenId) {
    if (tokenId < 0) return "";
    return this._texts.get(tokenId) ?? `#${tokenId}`;
  }

  /**
   * Takes over one event; they must come in order.
   *
   * @param {PageEvent} event
   */
  apply(event) {
    this.numEvents += 1;
    switch (event.kind) {
      case "run_started":
        this.started = event;
        this._begin(event);
        break;
      case "token_texts":
        for (const [place, id] of event.token_ids.entries()) this._texts.set(id, event.texts[place]);
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
      case "observed":
        this._open = untold(event);
        break;
      case "committed":
        this._close(event);
        break;
      case "server_totals":
        this.serverTotals = event;
        break;
      case "drafter_failed":
        this.drafterFailed = event;
        break;
      case "run_finished":
        this.tailText = event.tail_text;
        this.cutText = event.cut_text;
        break;
    }
  }

  /**
   * The tokens with which a branch begins.
   *
   * @param {RunStarted} started
   */
  _begin({ prefix_token_ids: ids, prefix_texts: texts, forked_at: forkedAt }) {
    ids.forEach((id, index) => {
      const source = index < (forkedAt ?? 0) ? "inherited" : "chosen";
      this.counts[source] += 1;
      this.tokens.push({ index, step: -1, id, text: texts[index], source, node: -1 });
    });
  }

  /** @param {Committed} committed */
  _close(committed) {
    const { number, drafted, verified, accepted, observed } = this._open;
    this._open = {};
    if (!number || !drafted || !verified || !accepted) return;
    const facts = { drafted, verified, accepted, committed, observed };
    const step = {
      ...facts,
      number,
      index: this.steps.length,
      firstToken: this.tokens.length,
      states: committed.node_states,
      times: committed.times_ms,
    };
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

/**
 * A step of a server: what it does not tell is empty, so that no view shows a tree of it.
 *
 * @param {Observed} observed
 * @returns {Partial<Step>}
 */
function untold(observed) {
  const times = { step: observed.step, t_start_s: observed.t_start_s, t_end_s: observed.t_end_s };
  /** @type {Drafted} */
  const drafted = {
    ...{ kind: "drafted", ...times, drafter: "server" },
    ...{ token_ids: [], parents: [], depths: [], draft_probs: [], top_k_token_ids: [], top_k_probs: [] },
  };
  /** @type {Verified} */
  const verified = {
    ...{ kind: "verified", ...times, num_rows: 0 },
    ...{ target_probs: [], top_k_token_ids: [], top_k_probs: [], entropies_nats: [] },
  };
  /** @type {Accepted} */
  const accepted = {
    ...{ kind: "accepted", ...times, path: [], tested: [], noises: [], thresholds: [] },
    ...{ next_token_id: null, next_source: null, next_prob: null },
  };
  return { number: observed.step, drafted, verified, accepted, observed };
}

/**
 * What is known of the draft of a server's step, in words.
 *
 * @param {Observed} observed
 */
export function toldOf({ border, num_drafted: drafted, num_accepted: accepted, num_steps: steps }) {
  if (border === "none") return "a piece of the text; the server tells no steps";
  const several = steps > 1 ? `${steps} steps that came together, ` : "";
  if (drafted === null) return `${several}a chunk of the stream; its drafts are not told`;
  if (!drafted) return `${several}nothing drafted`;
  return `${several}${accepted} of ${drafted} drafted accepted; the tree is not told`;
}

/**
 * All that is known of an emitted token, for its card.
 *
 * @param {RunModel} run
 * @param {Token} token
 * @returns {TokenFacts}
 */
export function describeToken(run, token) {
  if (token.step < 0) return describeGiven(run, token);
  const step = run.steps[token.step];
  if (token.node >= 0) return { ...describeNode(run, step, token.node), text: emitted(run, token) };
  const { path, next_prob: ownProb } = step.accepted;
  const place = token.index - step.firstToken;
  const targetProb = step.observed ? (step.observed.target_probs[place] ?? null) : ownProb;
  return {
    text: emitted(run, token),
    id: token.id,
    step: step.number,
    depth: step.observed ? place + 1 : path.length + 1,
    source: token.source,
    targetProb,
    draftProb: null,
    alternatives: alternatives(run, step, path.at(-1) ?? 0, token.id),
    fork: forkPlace(run, token.index, [], true),
  };
}

/**
 * What is known of a token with which a branch began: what was recorded at its place in the answers that
 * it is a branch of.
 *
 * @param {RunModel} run
 * @param {Token} token
 * @returns {TokenFacts}
 */
function describeGiven(run, token) {
  const { id, source, index } = token;
  const facts = { text: emitted(run, token), id, step: 0, depth: index + 1, source };
  const found = recorded(run, index);
  if (!found) return { ...facts, targetProb: null, draftProb: null, alternatives: [], fork: null };
  const { run: parent, step, node } = found;
  const { drafted, verified, accepted } = step;
  const child = childOf(step, node, id);
  const isNext = accepted.next_token_id === id && node === (accepted.path.at(-1) ?? 0);
  const known = alternatives(parent, step, node, id);
  /** @type {Source | NodeState | null} */
  let origin = isNext ? accepted.next_source : null;
  let targetProb = isNext ? accepted.next_prob : (known.find(({ isChosen }) => isChosen)?.prob ?? null);
  if (child !== null) {
    origin = tokenOfNode(parent, step, child)?.source ?? step.states[child];
    targetProb = verified.target_probs[child] ?? null;
  }
  return {
    ...facts,
    targetProb,
    draftProb: child === null ? null : (drafted.draft_probs[child] ?? null),
    alternatives: known,
    fork: forkPlace(run, index, [], true),
    inParent: { step: step.number, source: origin },
  };
}

/**
 * Where the answers that a branch is of recorded what comes behind its first `count` tokens: the step, and
 * the node of its tree that they lead to. null where none did, or is known.
 *
 * @param {RunModel} branch
 * @param {number} count
 */
function recorded(branch, count) {
  const before = branch.tokens.slice(0, count).map(({ id }) => id);
  const seen = new Set([branch]);
  // A trace from elsewhere may name any parent.
  for (let run = branch.parent; run && !seen.has(run); run = run.parent) {
    seen.add(run);
    const parting = before.findIndex((id, place) => run?.tokens[place]?.id !== id);
    const step = run.steps[run.tokens[parting < 0 ? count : parting]?.step];
    if (!step) continue;
    /** @type {number | null} */
    let node = 0;
    for (const id of before.slice(step.firstToken)) node = node === null ? null : childOf(step, node, id);
    if (node !== null) return { run, step, node };
  }
  return null;
}

/**
 * The drafted child of a node that is a token; null where none is.
 *
 * @param {Step} step
 * @param {number} parent
 * @param {number} id
 */
function childOf({ drafted }, parent, id) {
  const node = drafted.token_ids.findIndex((own, place) => drafted.parents[place] === parent && own === id);
  return node < 0 ? null : node;
}

/**
 * Where the answer of a run that has ended can go another way; null where its target goes on from no
 * token ids.
 *
 * @param {RunModel} run
 * @param {number} position
 * @param {number[]} path
 * @param {boolean} isOwn
 * @returns {ForkPlace | null}
 */
function forkPlace(run, position, path, isOwn) {
  if (!run.isEnded || run.server) return null;
  return { run: run.id, position, path, place: position + path.length, isOwn };
}

/**
 * The drafted tokens before a node, from the first behind the root on.
 *
 * @param {Step} step
 * @param {number} node
 */
function pathTo({ drafted }, node) {
  const path = [];
  for (let at = drafted.parents[node]; at > 0; at = drafted.parents[at]) path.unshift(drafted.token_ids[at]);
  return path;
}

/**
 * All that is known of a drafted node, for its card.
 *
 * @param {RunModel} run
 * @param {Step} step
 * @param {number} node
 * @returns {TokenFacts}
 */
export function describeNode(run, step, node) {
  const { drafted, verified } = step;
  const id = drafted.token_ids[node];
  return {
    text: run.textOf(id),
    id,
    step: step.number,
    depth: drafted.depths[node],
    source: tokenOfNode(run, step, node)?.source ?? step.states[node],
    targetProb: verified.target_probs[node] ?? null,
    draftProb: drafted.draft_probs[node] ?? null,
    alternatives: node === 0 ? [] : alternatives(run, step, drafted.parents[node], id),
    drafterChoices: node === 0 ? [] : choices(run, drafted, drafted.parents[node], id),
    why: step.states[node] === "rejected" ? trialOf(run, step, node) : null,
    fork:
      node === 0 ? null : forkPlace(run, step.firstToken, pathTo(step, node), tokenOfNode(run, step, node) !== null),
  };
}

/**
 * A token that completes no character has no text of its own; its bytes tell more.
 *
 * @param {RunModel} run
 * @param {Token} token
 */
function emitted(run, token) {
  return token.text || run.textOf(token.id);
}

/**
 * What decided about a tested node: by which rule, by what noise, and where its threshold lay.
 *
 * @param {RunModel} run
 * @param {Step} step
 * @param {number} node
 * @returns {Trial}
 */
export function trialOf(run, { drafted, verified, accepted }, node) {
  const parent = drafted.parents[node];
  const path = [0, ...accepted.path];
  const next = path[path.indexOf(parent) + 1];
  const ownId = next === undefined ? accepted.next_token_id : drafted.token_ids[next];
  const own = ownId === null ? null : run.textOf(ownId);
  const place = accepted.tested.indexOf(node);
  return {
    sentences: run.started?.explanation ?? NO_SENTENCES,
    isKept: accepted.path.includes(node),
    own,
    target: verified.target_probs[node] ?? null,
    // undefined where the trace does not say, null where there is none
    noise: accepted.noises?.[place],
    threshold: accepted.thresholds?.[place],
  };
}

/**
 * @param {RunModel} run
 * @param {Step} step
 * @param {number} parent
 * @param {number} chosenId
 */
function alternatives(run, step, parent, chosenId) {
  return choices(run, step.verified, parent, chosenId);
}

/**
 * The recorded choices of a model after a node; `event` is the draft or the verification.
 *
 * @param {RunModel} run
 * @param {Drafted | Verified} event
 * @param {number} parent
 * @param {number} chosenId
 * @returns {Choice[]}
 */
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

/**
 * The token of a step that stands for a node: accepted nodes have one, others do not.
 *
 * @param {RunModel} run
 * @param {Step} step
 * @param {number} node
 */
export function tokenOfNode(run, step, node) {
  const place = step.committed.nodes.indexOf(node);
  return place < 0 ? null : run.tokens[step.firstToken + place];
}
