"""What runs would reach under other settings and costs, by their replays, and which are best."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from itertools import product
from typing import Any, NamedTuple

from core.modes.ngram import NgramSettings
from core.modes.settings import DrafterSettings, TreeSettings
from core.profile.acceptance_scale import AS_MEASURED, AcceptanceScale
from core.profile.circumstance import OWN_CIRCUMSTANCE, Circumstance
from core.profile.costs import Costs
from core.profile.profile import Profile
from core.profile.replay import FREE_SETTINGS
from core.profile.tally import Counts, Tally, tally_of

# Looked at of a setting that may be as large as its profile's.
_SIZES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256)
# Of trees, which are many more.
_TREE_DEPTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
_NODES = (8, 16, 32, 64, 128, 256)
_LOOKUP = {
    "num_nodes": (2, 4, 8, 16, 32),
    "branching": (1, 3),
    "min_match": (1, 2, 3, 4),
}


@dataclass(slots=True)
class Prediction(Counts):
    """Counts and seconds of replayed runs, added up; ratios are made last."""

    draft_s: float = 0.0
    verify_s: float = 0.0
    rest_s: float = 0.0
    batch: int = 1

    def add(self, tally: Tally, costs: Costs) -> None:
        """Takes in a run."""
        self.merge(tally)
        self.batch = costs.batch
        self.draft_s += tally.draft_s(costs)
        self.verify_s += tally.verify_s(costs)
        self.rest_s += tally.rest_s(costs)

    @property
    def tau(self) -> float:
        """Tokens emitted a step, the target's own included."""
        return self.num_tokens / max(1, self.num_steps)

    @property
    def seconds(self) -> float:
        """Of all steps."""
        return self.draft_s + self.verify_s + self.rest_s

    @property
    def tokens_per_s(self) -> float:
        """Of all sequences that are side by side."""
        return self.batch * self.num_tokens / max(self.seconds, 1e-9)

    @property
    def acceptance_by_depth(self) -> list[float]:
        """Share of steps that kept a node of a depth, of those that came so far; from depth 1."""
        pairs = zip(self.num_kept_at, self.num_judged_at, strict=True)
        return [kept / judged for kept, judged in pairs]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return {
            "num_tokens": self.num_tokens,
            "num_steps": self.num_steps,
            "num_drafted": self.num_drafted,
            "num_tested": self.num_tested,
            "num_accepted": self.num_accepted,
            "num_missing": self.num_missing,
            "draft_s": self.draft_s,
            "verify_s": self.verify_s,
            "rest_s": self.rest_s,
            "acceptance_length": self.tau,
            "tokens_per_s": self.tokens_per_s,
            "acceptance_by_depth": self.acceptance_by_depth,
        }


# The costs of one profile, where others than its own are asked for.
CostsOf = Callable[[Profile], Costs]


def own_costs(profile: Profile) -> Costs:
    """Those of the machine where it was made."""
    return profile.costs


def predict(
    profiles: Iterable[Profile],
    settings: DrafterSettings | None,
    costs_of: CostsOf = own_costs,
    scale: AcceptanceScale = AS_MEASURED,
) -> Prediction:
    """What runs of all profiles would reach; None as settings is plain decoding.

    Raises InvalidSettingError for settings that go beyond a profile.
    """
    found = Prediction()
    for profile in profiles:
        costs = costs_of(profile)
        found.add(tally_of(profile, settings, costs, scale), costs)
    return found


class Choice(NamedTuple):
    """Settings and what they would reach."""

    settings: DrafterSettings
    prediction: Prediction


def candidates(most: DrafterSettings) -> Iterator[DrafterSettings]:
    """Settings worth looking at, none beyond `most`, which is the first: both those of fixed size and
    those that are sized by cost."""
    yield most
    seen = {most}
    ranges = _ranges(most)
    for values in product(*ranges.values()):
        changes = dict(zip(ranges, values, strict=True))
        each = replace(most, **changes)
        is_chain = isinstance(each, TreeSettings) and each.branching == 1
        if is_chain and changes["num_nodes"] < ranges["num_nodes"][-1]:
            continue  # a chain has as many nodes as levels
        if each not in seen:
            seen.add(each)
            yield each


def quick_candidates(most: DrafterSettings) -> Iterator[DrafterSettings]:
    """Few of `candidates`, for answers while somebody waits: those of fixed size, whose steps do not
    hang on costs, and of the others the largest alone. Trees have all nodes, and lookups the given
    match."""
    yield most
    if not isinstance(most, (NgramSettings, TreeSettings)):
        return
    others = [replace(most, fixed_size=not most.fixed_size)]
    for each in candidates(most):
        assert isinstance(each, (NgramSettings, TreeSettings)), "they are of one class"
        is_whole = each.num_nodes == most.num_nodes or isinstance(each, NgramSettings)
        has_match = getattr(each, "min_match", None) == getattr(most, "min_match", None)
        if each.fixed_size and is_whole and has_match:
            others.append(each)
    yield from dict.fromkeys(each for each in others if each != most)


def _ranges(most: DrafterSettings) -> dict[str, Sequence[Any]]:
    if isinstance(most, NgramSettings):
        nodes = [count for count in _LOOKUP["num_nodes"] if count <= most.num_nodes]
        return {**_LOOKUP, "num_nodes": nodes or [most.num_nodes], "fixed_size": (True, False)}
    if not isinstance(most, TreeSettings):
        return {}
    ranges: dict[str, Sequence[Any]] = {"fixed_size": (True, False)}
    depths = _SIZES if most.branching == 1 else _TREE_DEPTHS
    ranges["depth"] = [depth for depth in depths if depth <= most.depth]
    ranges["branching"] = [count for count in _SIZES if count <= most.branching]
    nodes = [count for count in _NODES if count < most.num_nodes]
    ranges["num_nodes"] = [*nodes, most.num_nodes]
    return ranges


def ranked(choices: Iterable[Choice]) -> list[Choice]:
    """The fastest first."""
    return sorted(choices, key=lambda choice: -choice.prediction.tokens_per_s)


def setting_words(settings: DrafterSettings) -> str:
    """Those that a profile leaves free, in a few words."""
    words = []
    for item in fields(settings):
        if item.name in FREE_SETTINGS and item.name != "fixed_size":
            words.append(f"{item.name}={getattr(settings, item.name)}")
    return " ".join([*words, "fixed" if getattr(settings, "fixed_size", False) else "by cost"])


class Axis(NamedTuple):
    """What a map varies along one of its sides."""

    name: str
    """A setting, or one of COST_AXES."""
    values: Sequence[Any]


_USUAL = (("depth", "branching"), ("num_nodes", "min_match"), ("depth", "batch"))
BATCHES = (1, 2, 4, 8, 16, 32, 64)
COST_AXES = ("batch", "verification", "drafting")
"""Sequences side by side, and how many times as long the two parts of a step take."""


class GridMap(NamedTuple):
    """Two settings against each other."""

    x: Axis
    y: Axis
    cells: list[list[Prediction]]
    """A row for each value of y."""
    plain: list[list[Prediction]]
    """Plain decoding under the same costs."""

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready: the sides, and by rows of cells tokens/s, tau, and plain decoding's tokens/s."""

        def numbers(
            of: Sequence[Sequence[Prediction]], value: Callable[[Prediction], float]
        ) -> list[list[float]]:
            return [[value(cell) for cell in row] for row in of]

        return {
            "x": {"name": self.x.name, "values": list(self.x.values)},
            "y": {"name": self.y.name, "values": list(self.y.values)},
            "tokens_per_s": numbers(self.cells, lambda cell: cell.tokens_per_s),
            "tau": numbers(self.cells, lambda cell: cell.tau),
            "plain_tokens_per_s": numbers(self.plain, lambda cell: cell.tokens_per_s),
        }


def axes_of(most: DrafterSettings) -> dict[str, Axis]:
    """What a map of a mode may vary, by name: its settings that have several values, and batches."""
    every = list(candidates(most))
    found = {}
    for name in FREE_SETTINGS:
        values = sorted({getattr(each, name) for each in every if hasattr(each, name)})
        if len(values) > 1 and name != "fixed_size":
            found[name] = Axis(name, values)
    return {**found, "batch": Axis("batch", BATCHES)}


def usual_axes(most: DrafterSettings) -> tuple[Axis, Axis]:
    """The two of a mode that say most, else its depth against the size of a batch."""
    known = axes_of(most)
    pairs = (pair for pair in _USUAL if set(pair) <= known.keys())
    x, y = next(pairs, tuple(known)[:2])
    return known[x], known[y]


def grid_map(
    profiles: Sequence[Profile],
    settings: DrafterSettings,
    x: Axis,
    y: Axis,
    circumstance: Circumstance = OWN_CIRCUMSTANCE,
) -> GridMap:
    """A prediction for every pair of values, under the circumstance as far as they leave it; raises as
    `predict` does."""
    cells, plain = [], []
    for down in y.values:
        pairs = [{x.name: across, y.name: down} for across in x.values]
        cells.append([_cell(profiles, settings, pair, circumstance) for pair in pairs])
        plain.append([_cell(profiles, None, pair, circumstance) for pair in pairs])
    return GridMap(x, y, cells, plain)


def _cell(
    profiles: Sequence[Profile],
    settings: DrafterSettings | None,
    changes: dict[str, Any],
    circumstance: Circumstance,
) -> Prediction:
    own = {name: value for name, value in changes.items() if name not in COST_AXES}
    if settings is not None:
        settings = replace(settings, **own)
    others = {name: value for name, value in changes.items() if name in COST_AXES}
    here = circumstance._replace(**others)
    return predict(profiles, settings, here.costs_of, here.scale)
