// What the server sends. Made of the Python classes by `make docs`; a test holds it equal.

/** The whole description of a run: enough to run it again. */
export interface RunStarted {
  kind: "run_started";
  step: number;
  t_start_s: number;
  t_end_s: number;
  run_id: string;
  started_at: string;
  config: Record<string, any>;
  target: Record<string, any>;
  draft: Record<string, any> | null;
  device: string;
  versions: Record<string, string>;
  seed: number;
  prompt_text: string;
  prompt_token_ids: number[];
  batch_size: number;
  lossy_rule: string;
  memory: Record<string, any> | null;
  parent: string;
  forked_at: number | null;
  prefix_token_ids: number[];
  prefix_texts: string[];
  server: Record<string, any> | null;
  explanation: RuleSentences;
}

/** The run is a profile: plain decoding, and at every position all that a drafter could propose. */
export interface ProfileStarted {
  kind: "profile_started";
  step: number;
  t_start_s: number;
  t_end_s: number;
  config: Record<string, any>;
  drafter: string;
  draft: Record<string, any> | null;
  prob_is_chance: boolean;
  in_one_pass: boolean;
  reads_emitted: boolean;
  can_branch: boolean;
  device_steps: boolean;
  context_limit: number;
  end_token_ids: number[];
  forward_rows: number[];
  forward_s: number[];
  draft_s: number[];
}

/** Texts of token ids that later events use for the first time in this run. */
export interface TokenTexts {
  kind: "token_texts";
  step: number;
  t_start_s: number;
  t_end_s: number;
  token_ids: number[];
  texts: string[];
}

/** The prompt, less its last token (the first root), is in the cache. */
export interface Prefilled {
  kind: "prefilled";
  step: number;
  t_start_s: number;
  t_end_s: number;
  num_tokens: number | null;
  num_reused: number | null;
  cache_length: number | null;
}

/** In a profile, before the draft of a step: all that the drafter was asked to propose here. */
export interface Proposed {
  kind: "proposed";
  step: number;
  t_start_s: number;
  t_end_s: number;
  depth_limit: number | null;
  token_ids: number[];
  parents: number[];
  draft_probs: number[];
  forward_s: number;
  choosing_s: number;
  level_rows: number[];
  level_s: number[];
}

/** The draft tree of a step; plain decoding has the root alone. */
export interface Drafted {
  kind: "drafted";
  step: number;
  t_start_s: number;
  t_end_s: number;
  drafter: string;
  token_ids: number[];
  parents: number[];
  depths: number[];
  draft_probs: number[];
  top_k_token_ids: number[][];
  top_k_probs: number[][];
}

/** One forward of the target over the tree; lists are empty when recording is off. */
export interface Verified {
  kind: "verified";
  step: number;
  t_start_s: number;
  t_end_s: number;
  num_rows: number;
  target_probs: number[];
  top_k_token_ids: number[][];
  top_k_probs: number[][];
  entropies_nats: number[];
}

/** The judgement of a tree: accepted path, what was tested, and the target's own token. */
export interface Accepted {
  kind: "accepted";
  step: number;
  t_start_s: number;
  t_end_s: number;
  path: number[];
  tested: number[];
  next_token_id: number | null;
  next_source: "accepted" | "remembered" | "forced" | "recovered" | "bonus" | "plain" | "untold" | null;
  next_prob: number | null;
  noises: (number | null)[];
  thresholds: (number | null)[];
}

/** All that the stream of a server tells of a step. It stands in the place of `drafted`, `verified` and `accepted`: no tree is told, and None is a number that is not told either. */
export interface Observed {
  kind: "observed";
  step: number;
  t_start_s: number;
  t_end_s: number;
  border: "counters" | "chunk" | "none";
  num_tokens: number | null;
  num_steps: number;
  num_drafted: number | null;
  num_tested: number | null;
  num_accepted: number | null;
  with_prompt: boolean;
  target_probs: number[];
}

/** The tokens that a step emitted. */
export interface Committed {
  kind: "committed";
  step: number;
  t_start_s: number;
  t_end_s: number;
  token_ids: number[];
  texts: string[];
  sources: ("accepted" | "remembered" | "forced" | "recovered" | "bonus" | "plain" | "untold")[];
  nodes: number[];
  cache_length: number | null;
  step_s: number;
  node_states: ("root" | "accepted" | "rejected" | "untested")[];
  times_ms: PhaseTimes;
}

/** What a server itself tells of a whole answer, behind its last step. */
export interface ServerTotals {
  kind: "server_totals";
  step: number;
  t_start_s: number;
  t_end_s: number;
  fields: string[];
  told: Record<string, any>;
  seen: Record<string, any>;
  confirms_steps: boolean;
  differences: Difference[];
}

/** The drafter broke in this step; the run goes on without it. */
export interface DrafterFailed {
  kind: "drafter_failed";
  step: number;
  t_start_s: number;
  t_end_s: number;
  error: string;
  message: string;
}

/** The end of a run that was not a failure. */
export interface RunFinished {
  kind: "run_finished";
  step: number;
  t_start_s: number;
  t_end_s: number;
  reason: "eos" | "stop_string" | "length" | "context" | "stopped";
  tail_text: string;
  totals: Record<string, any>;
  peak_memory_bytes: number | null;
  stop: string;
  cut_text: string;
  cut_token_ids: number[];
}

/** The end of a run by an error; all tokens before it stay valid. */
export interface RunFailed {
  kind: "run_failed";
  step: number;
  t_start_s: number;
  t_end_s: number;
  error: string;
  message: string;
  totals: Record<string, any>;
}

/** An event as the page gets it. */
export type PageEvent = RunStarted | ProfileStarted | TokenTexts | Prefilled | Proposed | Drafted | Verified | Accepted | Observed | Committed | ServerTotals | DrafterFailed | RunFinished | RunFailed;

/** Raw counts and times of one run. `add` every event in order. */
export interface Stats {
  num_tokens: number;
  num_steps: number | null;
  num_drafted: number | null;
  num_tested: number | null;
  num_accepted: number | null;
  prefill_s: number;
  draft_s: number | null;
  verify_s: number | null;
  accept_s: number | null;
  commit_s: number | null;
  steps_s: number;
  num_untimed: number;
  other_s: number | null;
  total_s: number;
  acceptance_rate: number | null;
  acceptance_length: number | null;
  tokens_per_s: number | null;
  origins: Record<string, "told" | "derived" | "at least" | "at most" | "unknown">;
}

/** The pauses of one answer or of several; percentiles lie between the two nearest (linear). */
export interface Pauses {
  num_pauses: number;
  pause_p50_s: number | null;
  pause_p95_s: number | null;
  pause_p99_s: number | null;
  longest_pause_s: number | null;
  mean_burst: number | null;
  largest_burst: number | null;
}

/** A total of a server that its stream did not show. */
export interface Difference {
  name: string;
  told: number;
  seen: number;
}

/** The first place where two outputs differ. */
export interface Divergence {
  position: number;
  reference_token_id: number;
  reference_text: string;
  other_token_id: number;
  other_text: string;
  logit_gap: number | null;
  is_lower_bound: boolean;
}

/** What a list shows of a run, or of a file of another program, without opening it. */
export interface KeptRun {
  run_id: string;
  trace_id: string;
  parent: string;
  name: string;
  mode: string;
  profiled: string;
  lossy_rule: string;
  target: string;
  device: string;
  prompt: string;
  kept_at_s: number;
  started_at: string;
  outcome: string;
  num_tokens: number | null;
  num_tested: number | null;
  tokens_per_s: number | null;
  acceptance_length: number | null;
  acceptance_rate: number | null;
  tau_is_bound: boolean;
  is_import: boolean;
  drafted_length: number | null;
}

/** What the page says of the models: one sentence and, while loading, how far it is. */
export interface PoolStatus {
  phase: "empty" | "loading" | "ready" | "failed";
  text: string;
  done: number;
  total: number;
  failure: string;
}

/** A run, its repeats taken together. */
export interface SummaryRow {
  run: string;
  mode: string;
  lossy_rule: string;
  target: string;
  device: string;
  num_runs: number;
  num_failed: number;
  tokens_per_s: number | null;
  tokens_per_s_min: number | null;
  tokens_per_s_max: number | null;
  speed_up: number | null;
  acceptance_length: number | null;
  num_steps: number | null;
  steps_origin: string;
  acceptance_rate: number | null;
  num_accepted: number | null;
  num_tested: number | null;
  num_drafted: number | null;
  draft_share: number | null;
  time_to_first_token_s: number | null;
  pause_p50_s: number | null;
  pause_p95_s: number | null;
  pause_p99_s: number | null;
  longest_pause_s: number | null;
  mean_burst: number | null;
  largest_burst: number | null;
  peak_memory_bytes: number | null;
}

/** Milliseconds of a step, or of a mean of steps, by phase; `settle` is accept and commit, and `untold` a whole step of a server, which does not tell its phases. */
export interface PhaseTimes {
  draft: number;
  verify: number;
  settle: number;
  other: number;
  untold: number;
}

/** The sentences of a run's acceptance rule; see `core.acceptance.registry.Explanation`. */
export interface RuleSentences {
  told: string;
  untold: string;
  impossible: string;
  kept: string;
  kept_untold: string;
}

/** What a run is doing, or how it ended; `done` of `total` while something is loaded. */
export interface RunStatus {
  phase: "queued" | "loading" | "running" | "ended" | "failed";
  text: string;
  done: number;
  total: number;
}

/** A part of an answer as Markdown: an element with children, or a text alone. */
export interface MarkdownNode {
  tag: string;
  text: string;
  href: string;
  children: MarkdownNode[];
}

/** An answer so far as Markdown. */
export interface RenderedAnswer {
  blocks: MarkdownNode[];
}

/** What was asked, and under which mode; `replaces` is the run that this one answers anew. */
export interface TurnHead {
  user: string;
  mode: string;
  replaces: string | null;
  turn: string;
  after: string | null;
}

/** Something to choose in the lab, and its words. */
export interface LabName {
  name: string;
  words: string;
}

/** Settings of a mode and what they would reach. */
export interface LabChoice {
  words: string;
  settings: Record<string, any>;
  tokens_per_s: number;
  times_plain: number;
  tau: number;
}

/** A mode under the costs that were asked for. */
export interface LabDrafter {
  mode: string;
  given: LabChoice;
  best: LabChoice;
  slowest: LabChoice;
  num_missing: number;
}

/** What became of a mode's drafts in a group of tokens; null where there is nothing to divide by. */
export interface LabCell {
  acceptance: number | null;
  num_judged: number;
  tokens_a_step: number | null;
  num_steps: number;
}

/** Tokens that have something in common, with a cell for each mode. */
export interface LabGroup {
  name: string;
  num_tokens: number;
  cells: LabCell[];
}

/** All tokens, by what they have in common. */
export interface LabGrouping {
  by: string;
  words: string;
  rows: LabGroup[];
}

/** What profiles predict for the costs that were asked for. */
export interface LabAnswer {
  drafters: LabDrafter[];
  winner: string;
  num_prompts: number;
  num_tokens: number;
  plain_tokens_per_s: number;
  verify_ms: number;
  note: string;
  costs: LabName[];
  handles: number[];
  curve_ms: number[];
  groupings: LabGrouping[];
  few: number;
}

/** All modes along batches and costs. */
export interface LabCurves {
  figures: Record<string, any>[];
  winners: string[];
}

/** Two settings of a mode against each other. */
export interface LabMap {
  mode: string;
  axes: LabName[];
  x: string;
  y: string;
  figure: Record<string, any>;
}

/** A mode of a lab in the making. */
export interface LabMode {
  mode: string;
  num_measured: number;
  refused: string;
}

/** How far a lab is. */
export interface LabProgress {
  lab: string;
  modes: LabMode[];
  status: string;
  done: number;
  total: number;
  is_over: boolean;
  failure: string;
  runs: string[];
}

/** What is new of one run: its events from number `seq` on, and what goes with them. */
export interface RunMessage {
  run: string;
  seq: number;
  status: RunStatus;
  events: PageEvent[];
  turn?: TurnHead;
  stats?: Stats;
  pauses?: Pauses;
}

/** The chat is empty; the number tells one from the next. */
export interface Cleared {
  clear: number;
}

/** What was refused before it began. */
export interface Notice {
  notice: string;
  number: number;
}

/** A turn that a page remembers; one that is not over goes on to send its messages. */
export interface ResumedTurn {
  run: string;
  is_over: boolean;
}

/** The turns that there still are of those that a page remembers. */
export interface Resumed {
  resumed: ResumedTurn[];
}

/** What is new of the rows of a batch, and the ids of all of them in their order. */
export interface BatchMessage {
  rows: RunMessage[];
  ids: string[];
  seconds: number | null;
}

/** Settings that are compared with plain decoding. */
export interface ComparisonEntry {
  mode: string;
  settings: string;
  lossy_rule: string;
}

/** Settings that are worth comparing, to be chosen at once. */
export interface ComparisonSetHead {
  name: string;
  title: string;
  watch: string;
}

/** All that will be compared, and what else can be chosen. */
export interface ComparisonEntries {
  entries: ComparisonEntry[];
  left_out: ModeFacts[];
  sets: ComparisonSetHead[];
}

/** A comparison that there is now; its id is to be remembered. */
export interface ComparisonBegun {
  comparison: string;
}

/** Who takes part in a comparison, and how far it is. */
export interface Contender {
  mode: string;
  settings: string;
  lossy_rule: string;
  phase: "waiting" | "running" | "done" | "failed";
  told: string;
}

/** How far a comparison is, in runs; plain decoding is the first contender. */
export interface ComparisonState {
  contenders: Contender[];
  done: number;
  total: number;
}

/** A comparison goes on. */
export interface ComparisonProgress {
  progress: ComparisonState;
}

/** Whether a run's text is the reference's, or why that cannot be said. */
export interface Verdict {
  is_reference: boolean;
  num_compared?: number;
  divergence?: Divergence | null;
  refused?: string;
}

/** Runs side by side: a row, a verdict and all events of each. */
export interface Comparison {
  rows: SummaryRow[];
  verdicts: Verdict[];
  runs: RunMessage[];
  figures: Record<string, any>;
  templates: Record<string, any>;
}

/** A table of texts; its CSV file has the name. */
export interface BesideTable {
  name: string;
  title: string;
  columns: string[];
  rows: string[][];
  note: string;
}

/** Files of other programs and runs side by side. */
export interface Beside {
  names: string[];
  tables: BesideTable[];
  figures: Record<string, any>;
}

/** A comparison has ended. */
export interface ComparisonResult {
  result: Comparison;
  contenders: Contender[];
}

/** A server that a target is the address of, in words. */
export interface ServerFound {
  server: string;
}

/** What a model needs before anything of it is loaded; bytes by number format. */
export interface ModelSize {
  num_parameters: number;
  fetched_bytes: number;
  needed_bytes: Record<string, number>;
  free_bytes: number;
}

/** A model known by a short name. */
export interface CatalogueEntry {
  num_parameters: number;
  fetched_bytes: number;
  needed_bytes: Record<string, number>;
  free_bytes: number;
  name: string;
  note: string;
}

/** A model of the hub that was fetched before. */
export interface LocalModel {
  name: string;
  num_parameters: number;
}

/** A draft model that fits the loaded target; its name is empty for the one that is shipped. */
export interface Draft {
  name: string;
  num_parameters: number;
}

/** Draft models of this machine for the loaded target, the smallest first. */
export interface Drafts {
  target: string | null;
  drafts: Draft[];
}

/** Whether the loaded target can run a mode: the reason against it, if any. */
export interface ModeFacts {
  mode: string;
  reason: string | null;
}

/** What there is, what is loaded, and what it can run. */
export interface Models {
  catalogue: CatalogueEntry[];
  fetched: LocalModel[];
  free_bytes: number;
  total_bytes: number;
  target: string | null;
  modes: ModeFacts[];
}

/** A run worth seeing. */
export interface PresetCard {
  name: string;
  title: string;
  watch: string;
  mode: string;
  prompt: string;
  is_paired: boolean;
}

/** The gallery. */
export interface Presets {
  presets: PresetCard[];
}
