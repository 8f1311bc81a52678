"""What the steps of a replayed run do and what becomes of every token, before anything is priced.

Where sizes are fixed the steps do not hang on costs: they are replayed once for all of them.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from core.modes.settings import DrafterSettings
from core.profile.acceptance_scale import AcceptanceScale
from core.profile.costs import Costs, Work
from core.profile.profile import Profile
from core.profile.replay import Replay, ReplayedStep

# Of a profile; one setting of a slider asks for some thirty.
_MOST_KEPT = 512

Fate = Literal["accepted", "refused", "undrafted"]
"""Of a token of the text: drafted and kept; the target's own where the draft had others in its place;
the target's own where nothing was drafted."""


class StepBegun(NamedTuple):
    """A step, by the token that it begins with."""

    position: int
    num_emitted: int


@dataclass(slots=True)
class Counts:
    """Of replayed steps."""

    num_tokens: int = 0
    num_steps: int = 0
    num_drafted: int = 0
    num_tested: int = 0
    num_accepted: int = 0
    num_missing: int = 0
    """Nodes that the profiles lack: without any, the counts are those of real runs."""
    num_judged_at: list[int] = field(default_factory=list)
    """By depth, from 1: steps whose path reached the depth above and that had drafted on."""
    num_kept_at: list[int] = field(default_factory=list)
    """Of these, how many kept a node there."""

    def merge(self, other: "Counts") -> None:
        """Adds those of other steps."""
        self.num_tokens += other.num_tokens
        self.num_steps += other.num_steps
        self.num_drafted += other.num_drafted
        self.num_tested += other.num_tested
        self.num_accepted += other.num_accepted
        self.num_missing += other.num_missing
        _add_counts(self.num_judged_at, other.num_judged_at)
        _add_counts(self.num_kept_at, other.num_kept_at)


def _add_counts(totals: list[int], counts: Sequence[int]) -> None:
    totals += [0] * (len(counts) - len(totals))
    for place, count in enumerate(counts):
        totals[place] += count


@dataclass(slots=True)
class Tally(Counts):
    """Counts over the steps of one run, and what they were made of."""

    verified: Counter[int] = field(default_factory=Counter)
    """By the rows of the target's forwards, how many of them."""
    drafts: Counter[tuple[int, int]] = field(default_factory=Counter)
    """The same of the drafter's forwards, by level and rows."""
    num_chosen: int = 0
    lookup_s: float = 0.0
    fates: list[Fate] = field(default_factory=list)
    """One for each token."""
    steps: list[StepBegun] = field(default_factory=list)

    def add(self, step: ReplayedStep) -> None:
        """Takes in the next step."""
        tree, path = step.tree, step.judgement.path
        self.steps.append(StepBegun(self.num_tokens, step.num_emitted))
        self.num_tokens += step.num_emitted
        self.num_steps += 1
        self.num_drafted += tree.num_drafted
        self.num_tested += len(step.judgement.tested)
        self.num_accepted += len(path)
        self.verified[len(tree)] += 1
        self._add_work(step.work)
        self.fates += ["accepted"] * len(path)
        if step.num_emitted > len(path):
            end = path[-1] if path else 0
            self.fates.append("refused" if tree.children[end] else "undrafted")
        for depth, node in enumerate((0, *path), start=1):
            if not tree.children[node]:
                break
            while len(self.num_judged_at) < depth:
                self.num_judged_at.append(0)
                self.num_kept_at.append(0)
            self.num_judged_at[depth - 1] += 1
            self.num_kept_at[depth - 1] += depth <= len(path)

    def _add_work(self, work: Work) -> None:
        self.drafts.update(enumerate(work.level_rows))
        self.num_chosen += work.num_chosen
        self.lookup_s += work.lookup_s

    def draft_s(self, costs: Costs) -> float:
        """Of all drafts."""
        return (
            sum(count * costs.draft_at(level, rows) for (level, rows), count in self.drafts.items())
            + self.num_chosen * costs.choosing_s
            + self.lookup_s * costs.lookup_pace
        )

    def verify_s(self, costs: Costs) -> float:
        """Of all the target's forwards."""
        return sum(count * costs.verification(rows) for rows, count in self.verified.items())

    def rest_s(self, costs: Costs) -> float:
        """Of the steps beside both."""
        return self.num_steps * costs.rest_s


def tally_of(
    profile: Profile, settings: DrafterSettings | None, costs: Costs, scale: AcceptanceScale
) -> Tally:
    """Of a run over a whole profile, which is replayed where it was not before; None as settings is
    plain decoding. It is not to be changed.

    Raises InvalidSettingError for settings that go beyond the profile.
    """
    is_sized = settings is not None and not getattr(settings, "fixed_size", False)
    key = settings, costs if is_sized else None, scale
    found: Tally | None = profile.tallies.get(key)
    if found is None:
        found = Tally()
        replay = Replay(profile, *key[:2], scale=scale)
        for step in replay.steps():
            found.add(step)
        found.num_missing = replay.num_missing
        if len(profile.tallies) >= _MOST_KEPT:
            profile.tallies.pop(next(iter(profile.tallies)), None)  # the oldest
        profile.tallies[key] = found
    return found
