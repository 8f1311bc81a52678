"""Runs worth seeing, as data. Adding one is adding one entry; the first is what a newcomer sees."""

from typing import Any, NamedTuple

from core.config import RunConfig
from core.errors import InvalidSettingError


class Preset(NamedTuple):
    """A prompt with settings, and what to look at."""

    name: str
    """As `--preset` takes it."""
    title: str
    watch: str
    """One sentence on what to look at."""
    prompt: str
    settings: dict[str, Any]
    """What differs from the defaults of `RunConfig`."""
    against: tuple[dict[str, Any], ...] = ()
    """Settings to compare it with, where the sight is in the difference."""
    system: str = ""

    @property
    def config(self) -> RunConfig:
        """The checked configuration."""
        return RunConfig.from_dict(self.settings)


_REPORT = (
    "The river Aar rose by two metres in one night after the dam at Hollern was opened without "
    "warning. Forty houses in the lower town were flooded, and the bridge to Seefeld was closed "
    "until Thursday. Mayor Lena Brandt said that nobody was hurt, and that the town will ask the "
    "owners of the dam to pay for the damage."
)
_QUOTE_FIRST = (
    "What does this report say? Quote it in full, then add one sentence of summary.\n\n" + _REPORT
)
_MISSPELLED = "Correct the spelling:\n\n" + _REPORT.replace("houses", "huoses").replace(
    "warning", "waring"
)
# A fixed size, so that the sight does not depend on what a machine's forward costs.
_LOOKUP = {"num_nodes": 16, "depth": 12, "fixed_size": True}
_TREE = {"num_nodes": 7, "depth": 5, "branching": 3, "fixed_size": True}
_SKY = "Explain in a few sentences why the sky is blue."
_AS_JSON = (
    "Describe Paris as JSON with its name, its country, its population in millions and its rivers."
)
_CITY = (
    '{"type": "object", "properties": {"city": {"type": "string"}, "country": {"type": "string"}, '
    '"millions": {"type": "number"}, "rivers": {"type": "array", "items": {"type": "string"}, '
    '"maxItems": 3}}, "required": ["city", "country", "millions", "rivers"], '
    '"additionalProperties": false}'
)
_STORY = "Write a short story about a lighthouse keeper who finds a letter."


PRESETS = (
    Preset(
        "quoted-summary",
        "A summary by quotation",
        "Whole clauses of the report come as one accepted draft: look at the longest blue runs.",
        _QUOTE_FIRST,
        {"mode": "ngram", "max_new_tokens": 128, "drafter": _LOOKUP},
    ),
    Preset(
        "correction",
        "A correction",
        "Unchanged clauses are drafted from the prompt; only a corrected word costs a refusal.",
        _MISSPELLED,
        {"mode": "ngram", "max_new_tokens": 128, "drafter": _LOOKUP},
    ),
    Preset(
        "asked-again",
        "The same question again",
        "Press Retry at the end: the second answer comes in long drafts from the memory of the "
        "first, in a colour of its own.",
        _SKY,
        {"mode": "ngram", "max_new_tokens": 128, "drafter": {**_LOOKUP, "memory": True}},
    ),
    Preset(
        "json",
        "An answer as JSON",
        "Only what the schema allows has a probability: look at the alternatives of a bracket or a "
        "colon, and at the drafts that are kept there.",
        _AS_JSON,
        {
            "mode": "hybrid",
            "max_new_tokens": 128,
            "sampling": {"constraint": f"json:{_CITY}"},
        },
        against=({"mode": "hybrid", "max_new_tokens": 128},),
    ),
    Preset(
        "open-chat",
        "Open chat, where lookup does not win",
        "Little repeats, so drafts stay short, and a step costs about what plain decoding costs.",
        _SKY,
        {"mode": "ngram", "max_new_tokens": 160},
        against=({"mode": "naive", "max_new_tokens": 160},),
    ),
    Preset(
        "eagle-tree",
        "An EAGLE head draws a tree",
        "One trained layer guesses from the target's hidden states: follow the strong path, which "
        "often leaves the first branch.",
        _SKY,
        {"mode": "sd-eagle", "max_new_tokens": 128, "drafter": _TREE},
    ),
    Preset(
        "block-tree",
        "A block drafted in one pass",
        "Three small layers draft eight places at once; behind them each token is corrected by the one "
        "before it, so that the paths differ.",
        _SKY,
        {"mode": "sd-block", "max_new_tokens": 128, "drafter": _TREE},
    ),
    Preset(
        "draft-model",
        "A small draft model",
        "Four layers, distilled from the target, write the draft: their guesses hold on longest "
        "in common phrases.",
        _SKY,
        {"mode": "sd-classic", "max_new_tokens": 128, "drafter": _TREE},
    ),
    Preset(
        "lookup-or-head",
        "Lookup where it matches, else an EAGLE head",
        "In the quotation long drafts come from the prompt, in the summary short ones from the "
        "head.",
        _QUOTE_FIRST,
        {"mode": "hybrid", "max_new_tokens": 128},
    ),
    Preset(
        "best-of-two",
        "Two drafters, and the one that pays takes the step",
        "An EAGLE head and a block drafter are tried in turn; then the one whose steps gave more tokens "
        "per second drafts, and the other follows the text.",
        _SKY,
        {"mode": "hybrid", "draft": "eagle+block", "max_new_tokens": 128},
    ),
    *(
        Preset(
            f"share-sd-{bits}-bits",
            f"Share-SD at {bits} bits",
            watch,
            _SKY,
            {
                "mode": "share-sd",
                "max_new_tokens": 96,
                "drafter": {"bits": bits, "depth": 4, "num_nodes": 4, "fixed_size": True},
            },
        )
        for bits, watch in (
            (2, "Two bits are too few: the drafter is mostly refused, at the first token."),
            (3, "Between two and four bits: compare how far down its drafts are accepted."),
            (4, "The target's own weights at four bits draft nearly what it writes itself."),
        )
    ),
    Preset(
        "equal-drafter",
        "A drafter equal to its target",
        "Everything is accepted to the full depth, so each step ends with a bonus token.",
        _SKY,
        {
            "mode": "share-sd",
            "max_new_tokens": 96,
            "drafter": {"bits": 16, "depth": 4, "num_nodes": 4, "fixed_size": True},
        },
    ),
    Preset(
        "sampling",
        "Sampling against greedy",
        "Noise keyed to the position makes sampled text predictable to lookup as well; "
        "the same seed gives the same text in every mode.",
        _STORY,
        {
            "mode": "ngram",
            "max_new_tokens": 160,
            "sampling": {"temperature": 0.8, "seed": 7},
        },
        against=({"mode": "ngram", "max_new_tokens": 160},),
    ),
    Preset(
        "wide-tree",
        "A wide tree",
        "Several guesses share a step: often it is not the first branch that is accepted.",
        _STORY,
        {
            "mode": "share-sd",
            "max_new_tokens": 96,
            "drafter": {
                "bits": 4,
                "num_nodes": 24,
                "depth": 4,
                "branching": 4,
                "fixed_size": True,
            },
        },
        against=(
            {
                "mode": "share-sd",
                "max_new_tokens": 96,
                "drafter": {
                    "bits": 4,
                    "num_nodes": 4,
                    "depth": 4,
                    "branching": 1,
                    "fixed_size": True,
                },
            },
        ),
    ),
    Preset(
        "lossy-rule",
        "A lossy rule against an exact one",
        "Typical acceptance keeps likely drafts that the target would not have drawn: "
        "more is accepted, and the text is another one.",
        _STORY,
        {
            "mode": "share-sd",
            "max_new_tokens": 96,
            "accept": "typical",
            "sampling": {"temperature": 0.8, "seed": 7},
            "drafter": {"bits": 4, "num_nodes": 4, "depth": 4, "fixed_size": True},
        },
        against=(
            {
                "mode": "share-sd",
                "max_new_tokens": 96,
                "sampling": {"temperature": 0.8, "seed": 7},
                "drafter": {"bits": 4, "num_nodes": 4, "depth": 4, "fixed_size": True},
            },
        ),
    ),
)


def find_preset(name: str) -> Preset:
    """The preset of a name; raises InvalidSettingError with the names that there are."""
    for preset in PRESETS:
        if preset.name == name:
            return preset
    known = ", ".join(preset.name for preset in PRESETS)
    raise InvalidSettingError(f"preset is {name!r}; give one of {known}.")
