"""What the page reads, apart from events: the messages of views and the JSON of routes.

`tests.page_types` writes the types of app/static/types.d.ts from these classes and from the events.
"""

from typing import Annotated, Any, Literal, NotRequired, TypedDict

# Made elsewhere; the note is the name of its type on the page.
PageEvent = Annotated[dict[str, Any], "PageEvent"]  # `app.runs.wire.events_for_page`
Pauses = Annotated[dict[str, Any], "Pauses"]  # `core.trace.pauses.Pauses.to_dict`
Stats = Annotated[dict[str, Any], "Stats"]  # `RunStats.to_dict`
SummaryRow = Annotated[dict[str, Any], "SummaryRow"]  # a row of `visualize.compare.summary_frame`
Divergence = Annotated[dict[str, Any], "Divergence"]  # `visualize.compare.Divergence`

ContenderPhase = Literal["waiting", "running", "done", "failed"]
RunPhase = Literal["queued", "loading", "running", "ended", "failed"]


class PhaseTimes(TypedDict):
    """Milliseconds of a step, or of a mean of steps, by phase; `settle` is accept and commit, and
    `untold` a whole step of a server, which does not tell its phases."""

    draft: float
    verify: float
    settle: float
    other: float
    untold: float


class RuleSentences(TypedDict):
    """The sentences of a run's acceptance rule; see `core.acceptance.registry.Explanation`."""

    told: str
    untold: str
    impossible: str
    kept: str
    kept_untold: str


class RunStatus(TypedDict):
    """What a run is doing, or how it ended; `done` of `total` while something is loaded."""

    phase: RunPhase
    text: str
    done: int
    total: int


class MarkdownNode(TypedDict):
    """A part of an answer as Markdown: an element with children, or a text alone."""

    tag: str
    """Empty for a text, and for children without an element of their own."""
    text: str
    href: str
    """Of a link; empty where it may not lead."""
    children: list["MarkdownNode"]


class RenderedAnswer(TypedDict):
    """An answer so far as Markdown."""

    blocks: list[MarkdownNode]


class TurnHead(TypedDict):
    """What was asked, and under which mode; `replaces` is the run that this one answers anew.

    Runs of one `turn` are branches of an answer; a turn follows upon the run `after`."""

    user: str
    mode: str
    replaces: str | None
    turn: str
    after: str | None


class LabName(TypedDict):
    """Something to choose in the lab, and its words."""

    name: str
    words: str


class LabChoice(TypedDict):
    """Settings of a mode and what they would reach."""

    words: str
    settings: dict[str, Any]
    tokens_per_s: float
    times_plain: float
    tau: float


class LabDrafter(TypedDict):
    """A mode under the costs that were asked for."""

    mode: str
    given: LabChoice
    """As measured."""
    best: LabChoice
    slowest: LabChoice
    num_missing: int
    """Nodes that the profiles do not know: without any, the steps are those of real runs."""


class LabCell(TypedDict):
    """What became of a mode's drafts in a group of tokens; null where there is nothing to divide by."""

    acceptance: float | None
    num_judged: int
    tokens_a_step: float | None
    num_steps: int


class LabGroup(TypedDict):
    """Tokens that have something in common, with a cell for each mode."""

    name: str
    num_tokens: int
    cells: list[LabCell]


class LabGrouping(TypedDict):
    """All tokens, by what they have in common."""

    by: str
    words: str
    rows: list[LabGroup]


class LabAnswer(TypedDict):
    """What profiles predict for the costs that were asked for."""

    drafters: list[LabDrafter]
    winner: str
    """A mode, or plain decoding in words."""
    num_prompts: int
    num_tokens: int
    plain_tokens_per_s: float
    verify_ms: float
    """Of a forward over one row of each sequence."""
    note: str
    """What is to be known of the speeds; else empty."""
    costs: list[LabName]
    handles: list[int]
    """Rows at which a curve is drawn by hand."""
    curve_ms: list[float]
    """Of a forward over so many rows, of one sequence and before anything is supposed."""
    groupings: list[LabGrouping]
    few: int
    """A share of fewer is moved by chance."""


class LabCurves(TypedDict):
    """All modes along batches and costs."""

    figures: list[dict[str, Any]]
    """Plotly's."""
    winners: list[str]
    """Of each, who is fastest where."""


class LabMap(TypedDict):
    """Two settings of a mode against each other."""

    mode: str
    axes: list[LabName]
    x: str
    y: str
    figure: dict[str, Any]
    """Plotly's."""


class LabMode(TypedDict):
    """A mode of a lab in the making."""

    mode: str
    num_measured: int
    """Prompts."""
    refused: str
    """Why it has no profile; else empty."""


class LabProgress(TypedDict):
    """How far a lab is."""

    lab: str
    modes: list[LabMode]
    status: str
    done: int
    total: int
    is_over: bool
    failure: str
    """Why there is nothing to ask, and what to do; empty where there is something."""
    runs: list[str]
    """Under which ids its profiles are kept."""


class RunMessage(TypedDict):
    """What is new of one run: its events from number `seq` on, and what goes with them."""

    run: str
    seq: int
    status: RunStatus
    events: list[PageEvent]
    turn: NotRequired[TurnHead]
    """With the first event."""
    stats: NotRequired[Stats]
    """Where they have changed, as the next."""
    pauses: NotRequired[Pauses]


class Cleared(TypedDict):
    """The chat is empty; the number tells one from the next."""

    clear: int


class Notice(TypedDict):
    """What was refused before it began."""

    notice: str
    number: int


class ResumedTurn(TypedDict):
    """A turn that a page remembers; one that is not over goes on to send its messages."""

    run: str
    is_over: bool


class Resumed(TypedDict):
    """The turns that there still are of those that a page remembers."""

    resumed: list[ResumedTurn]


class BatchMessage(TypedDict):
    """What is new of the rows of a batch, and the ids of all of them in their order."""

    rows: list[RunMessage]
    ids: list[str]
    seconds: float | None
    """Since its start; null where that is not known."""


class ComparisonEntry(TypedDict):
    """Settings that are compared with plain decoding."""

    mode: str
    settings: str
    lossy_rule: str


class ComparisonSetHead(TypedDict):
    """Settings that are worth comparing, to be chosen at once."""

    name: str
    title: str
    watch: str


class ComparisonEntries(TypedDict):
    """All that will be compared, and what else can be chosen."""

    entries: list[ComparisonEntry]
    left_out: list["ModeFacts"]
    """What a chosen set holds and cannot run."""
    sets: list[ComparisonSetHead]


class ComparisonBegun(TypedDict):
    """A comparison that there is now; its id is to be remembered."""

    comparison: str


class Contender(ComparisonEntry):
    """Who takes part in a comparison, and how far it is."""

    phase: ContenderPhase
    told: str


class ComparisonState(TypedDict):
    """How far a comparison is, in runs; plain decoding is the first contender."""

    contenders: list[Contender]
    done: int
    total: int


class ComparisonProgress(TypedDict):
    """A comparison goes on."""

    progress: ComparisonState


class Verdict(TypedDict):
    """Whether a run's text is the reference's, or why that cannot be said."""

    is_reference: bool
    num_compared: NotRequired[int]
    divergence: NotRequired[Divergence | None]
    refused: NotRequired[str]


class Comparison(TypedDict):
    """Runs side by side: a row, a verdict and all events of each."""

    rows: list[SummaryRow]
    verdicts: list[Verdict]
    runs: list[RunMessage]
    figures: dict[str, Any]
    """Plotly's, by name, without a template."""
    templates: dict[str, Any]
    """Plotly's for light and for dark."""


class BesideTable(TypedDict):
    """A table of texts; its CSV file has the name."""

    name: str
    title: str
    columns: list[str]
    rows: list[list[str]]
    note: str


class Beside(TypedDict):
    """Files of other programs and runs side by side."""

    names: list[str]
    tables: list[BesideTable]
    figures: dict[str, Any]
    """Plotly's, by name."""


class ComparisonResult(TypedDict):
    """A comparison has ended."""

    result: Comparison
    contenders: list[Contender]


class ServerFound(TypedDict):
    """A server that a target is the address of, in words."""

    server: str


class ModelSize(TypedDict):
    """What a model needs before anything of it is loaded; bytes by number format."""

    num_parameters: int
    fetched_bytes: int
    needed_bytes: dict[str, int]
    free_bytes: int


class CatalogueEntry(ModelSize):
    """A model known by a short name."""

    name: str
    note: str


class LocalModel(TypedDict):
    """A model of the hub that was fetched before."""

    name: str
    num_parameters: int


class Draft(LocalModel):
    """A draft model that fits the loaded target; its name is empty for the one that is shipped."""


class Drafts(TypedDict):
    """Draft models of this machine for the loaded target, the smallest first."""

    target: str | None
    drafts: list[Draft]


class ModeFacts(TypedDict):
    """Whether the loaded target can run a mode: the reason against it, if any."""

    mode: str
    reason: str | None


class Models(TypedDict):
    """What there is, what is loaded, and what it can run."""

    catalogue: list[CatalogueEntry]
    fetched: list[LocalModel]
    free_bytes: int
    total_bytes: int
    target: str | None
    modes: list[ModeFacts]


class PresetCard(TypedDict):
    """A run worth seeing."""

    name: str
    title: str
    watch: str
    mode: str
    prompt: str
    is_paired: bool
    """Whether something stands against it in Compare."""


class Presets(TypedDict):
    """The gallery."""

    presets: list[PresetCard]
