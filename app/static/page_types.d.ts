// What the scripts of the page hand each other; types.d.ts has what the server sends.

import type {
  Accepted,
  Committed,
  Drafted,
  Observed,
  PageEvent,
  PhaseTimes,
  PoolStatus,
  RuleSentences,
  Verified,
} from "./types.d.ts";

/** Where a token of an answer came from; what a branch begins with was inherited or chosen. */
export type Source = Committed["sources"][number] | "inherited" | "chosen";
export type Refused = "rejected" | "untested";
export type NodeState = Committed["node_states"][number];

/** A whole step of a run. */
export interface Step {
  number: number;
  /** Place among the run's steps, from 0. */
  index: number;
  drafted: Drafted;
  verified: Verified;
  accepted: Accepted;
  committed: Committed;
  /** Of a server's step; the three before are empty then. */
  observed?: Observed;
  /** Of every node of the tree. */
  states: NodeState[];
  times: PhaseTimes;
  /** Index of the first token that it emitted. */
  firstToken: number;
}

/** A token of the answer; `node` is -1 for the target's own. */
export interface Token {
  index: number;
  /** -1 for those that a branch began with. */
  step: number;
  id: number;
  text: string;
  source: Source;
  node: number;
}

/** A node of the drawn tree; `parent` is a place in the list, and -1 as `node` the target's own token. */
export interface TreeNode {
  node: number;
  parent: number;
  text: string;
  state: NodeState | Source | "proposed";
  /** How wide the edge to it is, from 0 to 1. */
  weight: number;
  /** Below its box. */
  note?: string;
  /** It stands for the untested branches below this judged node. */
  folds?: number;
}

/** Where something stands in a drawing, in the drawing's pixels. */
export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
  label: string;
}

/** A part of a step's story, and what its picture shows. */
export interface StepPart {
  title: string;
  sentences: string[];
  /** The root alone, with the drafts, or with all that came of them. */
  shows: "root" | "drafts" | "all";
  /** Nodes that have been judged by now; -1 is the target's own token. */
  known: Set<number>;
  /** Nodes that it is about. */
  marked: number[];
  /** What stands below a node. */
  notes: Map<number, string>;
}

/** A way to look at the selected step or its run. */
export interface Look {
  name: string;
  label: string;
  help: string;
  element: HTMLElement;
  /** Whether it needs more room than its place has. */
  isLarge?: boolean;
  /** Buttons of its own, in the head of the panel. */
  tools: HTMLElement[];
  zoom(factor: number): void;
  fit(): void;
  /** One line on what is seen. */
  summary(): string;
  /** Draws if it is shown; called again for whatever has changed. */
  draw(changes: Changes): void;
}

/** A choice that a model had, as it was recorded. */
export interface Choice {
  id: number;
  text: string;
  prob: number;
  isChosen: boolean;
}

/** What decided about a tested node. */
export interface Trial {
  sentences: RuleSentences;
  isKept: boolean;
  own: string | null;
  target: number | null;
  /** undefined where the trace does not say, null where there is none. */
  noise: number | null | undefined;
  threshold: number | null | undefined;
}

/** Where an answer can go another way. */
export interface ForkPlace {
  run: string;
  /** Place in the answer, from 0, of the first of `path`, or of what is chosen. */
  position: number;
  /** Drafted tokens before what is chosen. */
  path: number[];
  /** Place of what is chosen. */
  place: number;
  /** Whether the token of the card is the answer's own. */
  isOwn: boolean;
}

/** What a branch begins with behind the answer's own tokens before `position`. */
export interface ForkRequest {
  run: string;
  position: number;
  token_ids: number[];
}

export type AskFork = (request: ForkRequest) => void;

/** What the card tells of a token. */
export interface TokenFacts {
  text: string;
  id: number;
  /** 0 for those that a branch began with. */
  step: number;
  /** null where there is no other way to choose. */
  fork: ForkPlace | null;
  depth: number;
  source: Source | NodeState;
  targetProb: number | null;
  draftProb: number | null;
  alternatives: Choice[];
  drafterChoices?: Choice[];
  why?: Trial | null;
  /** Of a token with which a branch began: where an answer that it is a branch of recorded it, and what it
   * was there; null where it was none. */
  inParent?: { step: number; source: Source | NodeState | null };
}

/** A bar of the time view: one step, or the mean of neighbours. */
export interface Bar {
  start: number;
  end: number;
  tokens: number;
  times: PhaseTimes;
}

/** What has changed since the views were drawn. */
export interface Changes {
  chat: boolean;
  selection: boolean;
  runs: Set<string>;
}

/** What Gradio gives the script of a component. */
export interface ViewContext {
  element: HTMLElement;
  props: { value: string };
  watch(name: "value", read: () => void): void;
  trigger(event: string, data: Record<string, unknown>): void;
  server: { since(request: string): Promise<string> };
}

/** Attributes of a new element; those that begin with "on" are listeners. */
export interface Attributes {
  onclick?: (event: MouseEvent & { currentTarget: Element }) => unknown;
  oninput?: (event: Event & { target: HTMLInputElement }) => unknown;
  onchange?: (event: Event & { target: HTMLInputElement }) => unknown;
  onsubmit?: (event: SubmitEvent) => unknown;
  onkeydown?: (event: KeyboardEvent & { currentTarget: Element }) => unknown;
  onfocus?: (event: FocusEvent & { currentTarget: Element }) => unknown;
  onpointerenter?: (event: PointerEvent & { currentTarget: Element }) => unknown;
  [listener: `on${string}`]: ((event: any) => unknown) | undefined;
  [name: string]: unknown;
}

export type Child = Node | string;
export type StatusListener = (status: PoolStatus) => void;
export type Drawing = (changes: Changes) => void;
export type { PageEvent, PhaseTimes };

/** As much of Plotly as is used. */
export interface Plotly {
  react(place: HTMLElement, data: unknown, layout: object, config: object): void;
  downloadImage(place: HTMLElement, options: object): Promise<string>;
  Plots: { resize(place: HTMLElement): Promise<void> };
}

/** A span of an answer strip, which knows what it stands for. */
export interface TokenSpan extends HTMLSpanElement {
  tokenIndex?: number;
  stepIndex?: number;
  node?: number;
}

declare global {
  var Plotly: Plotly;
  interface Window {
    /** What Gradio tells its own page. */
    gradio_config: { root: string };
    specdecodes: { copyChat(): Promise<void>; presetChosen(): void; shownTurns(): string[] };
  }
}
