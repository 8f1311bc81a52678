"""Settings worth comparing side by side, as data. Adding a set is adding one entry."""

from typing import Any, NamedTuple

from core.errors import InvalidSettingError


class ComparisonSet(NamedTuple):
    """Who takes part beside plain decoding; all but the drafter's settings are the reader's."""

    name: str
    title: str
    watch: str
    """One sentence on what to look at."""
    members: tuple[dict[str, Any], ...] = ()
    """Mode and drafter settings of each, as `RunConfig.from_dict` takes them; none for every mode."""


# Of a fixed size, so that the sight does not depend on what a machine's forward costs.
_CHAIN = {"num_nodes": 5, "depth": 5, "branching": 1, "fixed_size": True}
_TREE = {"num_nodes": 12, "depth": 5, "branching": 3, "fixed_size": True}

SETS = (
    ComparisonSet(
        "all",
        "All modes that can run",
        "Every mode with the settings at the left.",
    ),
    ComparisonSet(
        "drafters",
        "Drafters",
        "One of each kind (lookup, small model, head, block, the target itself): who guesses best, and "
        "who is cheap enough that it pays.",
        tuple(
            {"mode": mode}
            for mode in ("ngram", "sd-classic", "sd-eagle", "sd-block", "share-sd", "hybrid")
        ),
    ),
    ComparisonSet(
        "bits",
        "Bits of Share-SD",
        "The target at 2, 3, 4 and 8 bits drafts for itself: acceptance rises with the bits, and so "
        "does the time of a draft.",
        tuple(
            {
                "mode": "share-sd",
                "drafter": {"bits": bits, "num_nodes": 4, "depth": 4, "fixed_size": True},
            }
            for bits in (2, 3, 4, 8)
        ),
    ),
    ComparisonSet(
        "trees",
        "Trees against chains",
        "The same drafters with one guess a place and with several: a tree is accepted further, and its "
        "forward has more rows.",
        tuple(
            {"mode": mode, "drafter": drafter}
            for mode in ("sd-eagle", "sd-block", "sd-classic")
            for drafter in (_CHAIN, _TREE)
        ),
    ),
)


def find_set(name: str) -> ComparisonSet:
    """The set of a name; raises InvalidSettingError with the names that there are."""
    for one in SETS:
        if one.name == name:
            return one
    known = ", ".join(one.name for one in SETS)
    raise InvalidSettingError(f"the set is {name!r}; give one of {known}.")
