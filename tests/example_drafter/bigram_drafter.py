"""A drafter in a package of its own: drafts what followed the last token most often so far."""

from collections import Counter, defaultdict
from dataclasses import dataclass

from core.drafters.base import CostOfRows, DraftLimits, Outcome
from core.drafters.context import DrafterContext
from core.drafters.device_form import DeviceForm
from core.modes.registry import register_drafter
from core.modes.settings import DrafterSettings
from core.settings import setting
from core.trees.tree import DraftTree


@dataclass(frozen=True, kw_only=True)
class BigramSettings(DrafterSettings):
    """What followed the last token most often drafts; an example of a drafter from outside."""

    chain: int = setting(4, "longest draft in tokens", low=1, high=64)


class BigramDrafter:
    """Implements `core.drafters.base.Drafter`."""

    name = "bigram"
    identity = None

    def __init__(self, settings: BigramSettings):
        self._settings = settings
        self._last: int | None = None
        self._followers: defaultdict[int, Counter[int]] = defaultdict(Counter)

    @property
    def device_form(self) -> DeviceForm:
        """Trees of token ids alone: the host makes them, also where the device does the rest."""
        return DeviceForm(host_tree=self.draft, learn=lambda outcome, *_: self.commit(outcome))

    def begin(self, prompt_token_ids: list[int], max_length: int) -> None:
        """Counts the prompt."""
        self._last = None
        self._followers.clear()
        self._count(prompt_token_ids)

    def draft(self, root_token_id: int, limits: DraftLimits, cost: CostOfRows | None) -> DraftTree:
        """A chain of the most frequent followers."""
        tree, node, token_id = DraftTree(root_token_id), 0, root_token_id
        for _ in range(min(self._settings.chain, limits.depth, limits.num_nodes)):
            followers = self._followers.get(token_id)
            if not followers:
                break
            token_id, count = followers.most_common(1)[0]
            node = tree.add(node, token_id, count / followers.total())
        return tree

    def commit(self, outcome: Outcome) -> None:
        """Counts what the step emitted."""
        self._count(outcome.emitted_token_ids)

    def follow(self, token_ids: list[int]) -> None:
        """Counts the tokens of a step that another drafter drafted."""
        self._count(token_ids)

    def finish(self) -> None:
        """Nothing is held."""

    def _count(self, token_ids: list[int]) -> None:
        for token_id in token_ids:
            if self._last is not None:
                self._followers[self._last][token_id] += 1
            self._last = token_id


@register_drafter("bigram", settings=BigramSettings, group="lookup")
def make_bigram(context: DrafterContext) -> BigramDrafter:
    """The drafter for a run."""
    settings = context.config.drafter
    assert isinstance(settings, BigramSettings)
    return BigramDrafter(settings)
