"""The events of a run: the only thing that page, figures, exports and benchmarks read.

Times are seconds since the start of the run, from the clock given to the engine. In all lists with
one entry a node, node 0 is the root (the last committed token, not drafted) and a parent stands
before its children. Probabilities are the model's own: softmax of its logits at temperature 1; the
target's are those of its logits as penalties, biases and banned ends of the run leave them.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

TokenSource = Literal["accepted", "remembered", "forced", "recovered", "bonus", "plain", "untold"]
FinishReason = Literal["eos", "stop_string", "length", "context", "stopped"]
# By what the steps of a server are told apart.
StepBorder = Literal["counters", "chunk", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Base of all events; `step` counts from 1, and is 0 before the first step."""

    kind: ClassVar[str]
    step: int
    t_start_s: float
    t_end_s: float

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form with its kind; `core.trace.file.event_from_dict` inverts it."""
        values = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return {"kind": self.kind, **values}


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStarted(Event):
    """The whole description of a run: enough to run it again."""

    kind: ClassVar[str] = "run_started"
    run_id: str
    started_at: str
    """UTC, ISO 8601."""
    config: dict[str, Any]
    """`RunConfig.to_dict()`."""
    target: dict[str, Any]
    """Model identity: name, source, sha256, num_parameters, dtype, note. Also what computes it, and as
    `rounding` a sentence where its number format lets drafts change the text, as `host_steps` one where
    the host decides steps that the device could do alone."""
    draft: dict[str, Any] | None
    device: str
    """The device in words, with its thread count on a CPU."""
    versions: dict[str, str]
    seed: int
    prompt_text: str
    prompt_token_ids: list[int]
    """Empty where the target is a server that does not tell them."""
    batch_size: int = 1
    """Sequences that ran side by side, at most; the times of a step then include theirs."""
    lossy_rule: str | None = None
    """The acceptance rule if it changes the output's distribution, else ""; None in traces that
    are older than this field."""
    memory: dict[str, Any] | None = None
    """The earlier answers that lookup searched as they were when the run began: the key of their
    `tokenizer`, `num_answers`, `num_tokens`, and `sha256` of their token ids. None for a run without."""
    parent: str = ""
    """Id of the run that this one is a branch of; empty where it is none, as are the next three."""
    forked_at: int | None = None
    """Place in the answer, from 0, of the first token that was chosen in place of the parent's own."""
    prefix_token_ids: list[int] = field(default_factory=list)
    """The tokens with which the answer begins, which no step of this run emitted: before `forked_at`
    the parent's, from there on those that were chosen."""
    prefix_texts: list[str] = field(default_factory=list)
    """What each of them adds to the text, as in `committed`."""
    server: dict[str, Any] | None = None
    """The server that answers, where the target is one: its `kind`, `address`, `model`, `version` as far
    as it tells it, and whether it `speculates`, None where it does not say. None for our own engine."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileStarted(Event):
    """The run is a profile: plain decoding, and at every position all that a drafter could propose.

    From it the steps of a run with that drafter follow, for other sizes of trees and other costs."""

    kind: ClassVar[str] = "profile_started"
    config: dict[str, Any]
    """`RunConfig.to_dict()` of the profiled mode; its trees are the largest that were looked at."""
    drafter: str
    """Name of what proposes; empty where a run's own text is all that is needed."""
    draft: dict[str, Any] | None
    """Identity of the drafter; see `run_started`."""
    prob_is_chance: bool
    """Whether a proposed token's probability says how likely it is accepted."""
    in_one_pass: bool
    """Whether one forward of the drafter tells all levels."""
    reads_emitted: bool
    """Whether a draft's first forward has a row for every token of the last step, not for its last
    alone."""
    can_branch: bool
    """Whether the target takes trees; otherwise drafts are chains."""
    device_steps: bool
    """Whether a device alone does the steps of real runs there: the times of this run, whose steps the
    host does, then tell nothing of theirs."""
    context_limit: int
    """Most tokens, prompt and output together."""
    end_token_ids: list[int]
    forward_rows: list[int]
    forward_s: list[float]
    """Seconds of one forward of the target over so many rows, joined by straight lines."""
    draft_s: list[float]
    """Seconds of the drafter's forward over 1, 2, 3 ... rows; of all levels where one forward tells
    them. Empty where it has none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenTexts(Event):
    """Texts of token ids that later events use for the first time in this run."""

    kind: ClassVar[str] = "token_texts"
    token_ids: list[int]
    texts: list[str]
    """One token alone, decoded; bytes that are no whole character are written as <0xF0>."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prefilled(Event):
    """The prompt, less its last token (the first root), is in the cache."""

    kind: ClassVar[str] = "prefilled"
    num_tokens: int | None
    """Tokens computed now; None, as the next two, where a server does not tell it."""
    num_reused: int | None
    """Tokens already in the cache from an earlier run of the same chat."""
    cache_length: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed(Event):
    """In a profile, before the draft of a step: all that the drafter was asked to propose here.

    A node with children is one that the drafter computed; its children are its best continuations,
    best first."""

    kind: ClassVar[str] = "proposed"
    depth_limit: int | None
    """How deep the drafter can draft here, whatever is asked; None where that has no end."""
    token_ids: list[int]
    parents: list[int]
    """Index of each node's parent; -1 for the root."""
    draft_probs: list[float]
    """The drafter's probability of each node after its parent; 1.0 for the root."""
    forward_s: float
    """Seconds that the drafter's forwards took."""
    choosing_s: float
    """Seconds that choosing took, beside them."""
    level_rows: list[int]
    """Rows of each level that both were measured over; what replays asked for beside comes on top."""
    level_s: list[float] = field(default_factory=list)
    """Of `forward_s`, those of each level; empty in files that do not tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drafted(Event):
    """The draft tree of a step; plain decoding has the root alone."""

    kind: ClassVar[str] = "drafted"
    drafter: str
    """The drafter that made this tree, or "none"; "memory" made one from earlier answers, and
    "constraint" one of forced tokens."""
    token_ids: list[int]
    parents: list[int]
    """Index of each node's parent; -1 for the root."""
    depths: list[int]
    draft_probs: list[float]
    """The drafter's probability of each node after its parent; 1.0 for the root."""
    top_k_token_ids: list[list[int]]
    """The drafter's most probable children of each node; empty where it has no distribution."""
    top_k_probs: list[list[float]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified(Event):
    """One forward of the target over the tree; lists are empty when recording is off."""

    kind: ClassVar[str] = "verified"
    num_rows: int
    target_probs: list[float]
    """The target's probability of each node after its parent; 1.0 for the root."""
    top_k_token_ids: list[list[int]]
    """The target's most probable next tokens after each node, best first."""
    top_k_probs: list[list[float]]
    entropies_nats: list[float]
    """Entropy of the target's next-token distribution after each node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted(Event):
    """The judgement of a tree: accepted path, what was tested, and the target's own token."""

    kind: ClassVar[str] = "accepted"
    path: list[int]
    """Accepted nodes from the root's child on; the root is not in it."""
    tested: list[int]
    """Nodes that were judged, in order; those not in `path` were rejected, all others untested."""
    next_token_id: int | None
    """The target's token after the path; None where an accepted token ended the run."""
    next_source: TokenSource | None
    next_prob: float | None
    """The target's probability of that token; None when recording is off."""
    noises: list[float | None] = field(default_factory=list)
    """The noise that met each tested node, in the order of `tested`: Gumbel noise under `match`,
    uniform under `rejection`; `typical` has none. Empty for greedy decoding, and under `match` when
    recording is off."""
    thresholds: list[float | None] = field(default_factory=list)
    """What the rule held against it. `match` keeps a node whose noise reaches the threshold, which
    is None where the sampling settings leave the token no probability; `rejection` one whose noise
    is below it; `typical` one whose probability under the sampling settings is above it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed(Event):
    """All that the stream of a server tells of a step. It stands in the place of `drafted`, `verified`
    and `accepted`: no tree is told, and None is a number that is not told either."""

    kind: ClassVar[str] = "observed"
    border: StepBorder
    """What told it apart: the server's own counters, which leave no doubt; a chunk of the stream, which
    may hold several steps where the reader or the server lagged; or nothing, so that it is a piece of
    the answer and no step."""
    num_tokens: int | None
    """Tokens emitted; where they are not told, `committed` has one entry for all of them."""
    num_steps: int
    """Forwards of the target, at least, that gave these tokens; exact with the border `counters`."""
    num_drafted: int | None
    num_tested: int | None
    num_accepted: int | None
    with_prompt: bool
    """Whether the forward of the prompt gave the first of these tokens, whose time is the prompt's."""
    target_probs: list[float]
    """The target's probability of each token; empty where the server does not tell it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerTotals(Event):
    """What a server itself tells of a whole answer, behind its last step."""

    kind: ClassVar[str] = "server_totals"
    fields: list[str]
    """Where it told them: names of the parts of its answer, or counters of the server before and
    after."""
    told: dict[str, Any]
    """Its totals in the words of `RunStats`, as far as it has them; also `num_draft_steps`, steps that
    had a draft, and `accepted_histogram`, how many of these accepted 0, 1, 2 ... tokens."""
    seen: dict[str, Any]
    """What the stream showed, for the same names as far as it showed them. Where both have a name they
    should be equal."""
    confirms_steps: bool
    """Whether the chunks of the stream are as long as the steps that the histogram counts, so that each
    was a step; the last may be cut short."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed(Event):
    """The tokens that a step emitted."""

    kind: ClassVar[str] = "committed"
    token_ids: list[int]
    """-1 for a token, or a piece of text, of which a server tells no id."""
    texts: list[str]
    """What each token adds to the text: empty while a character is incomplete, and while the text may
    be the beginning of a stop string; nothing from a stop string on."""
    sources: list[TokenSource]
    """`accepted`, `remembered` and `forced` tokens were drafted: `remembered` ones from earlier answers,
    `forced` ones, whoever drafted them, where the run's constraint allowed nothing else. Of `untold`
    ones a server does not say it; the others are the target's own."""
    nodes: list[int]
    """Tree node of each token; -1 for the target's own token, and where there is no tree."""
    cache_length: int | None
    """Committed tokens in the cache after the step; None where a server has the cache."""
    step_s: float
    """Time of the whole step inside the engine, without the time that the reader of events took."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DrafterFailed(Event):
    """The drafter broke in this step; the run goes on without it."""

    kind: ClassVar[str] = "drafter_failed"
    error: str
    """Name of the error's class."""
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFinished(Event):
    """The end of a run that was not a failure."""

    kind: ClassVar[str] = "run_finished"
    reason: FinishReason
    tail_text: str
    """Text of an incomplete character at the very end, and what might have become a stop string;
    usually empty."""
    totals: dict[str, Any]
    """`RunStats.to_dict()`."""
    peak_memory_bytes: int | None
    """None where a server has the memory."""
    stop: str = ""
    """The stop string that ended the run; empty where none did, as are the next two."""
    cut_text: str = ""
    """What was cut from the text of the emitted tokens: the stop string and what stood behind it."""
    cut_token_ids: list[int] = field(default_factory=list)
    """Tokens of the last step that stood behind the stop string, accepted and not emitted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFailed(Event):
    """The end of a run by an error; all tokens before it stay valid."""

    kind: ClassVar[str] = "run_failed"
    error: str
    """Name of the error's class."""
    message: str
    totals: dict[str, Any]


EVENT_CLASSES: dict[str, type[Event]] = {
    cls.kind: cls
    for cls in (
        RunStarted,
        ProfileStarted,
        TokenTexts,
        Prefilled,
        Proposed,
        Drafted,
        Verified,
        Accepted,
        Observed,
        Committed,
        ServerTotals,
        DrafterFailed,
        RunFinished,
        RunFailed,
    )
}
