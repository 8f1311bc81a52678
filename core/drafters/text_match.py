"""A draft model with another vocabulary drafts text, which the target's tokenizer makes tokens of.

Exact matching of text (SLEM, Timor et al. 2025, arXiv 2502.05202): the draft model writes a chain of its
own tokens behind the text so far; the same text in the target's tokens is what the target verifies. The
draft model's cache follows the text: what it reads otherwise after a step is computed anew.
"""

from typing import Any

import torch

from core.backends.runner import ModelRunner
from core.drafters.base import CostOfRows, DraftLimits, Outcome
from core.drafters.draft_pass import DraftPass, pass_behind
from core.drafters.grown import GrownDrafter
from core.drafters.tree_growth import TreeGrower
from core.drafters.vocabularies import Vocabularies
from core.models.token_bytes import whole_characters
from core.trees.tree import DraftTree

# So many tokens at the end of a text are split anew together with what comes behind them.
_LOOK_BACK = 6
# Of bytes within a character.
_HIGH_BITS, _CONTINUES = 0xC0, 0x80


class TextDrafter(GrownDrafter):
    """Implements `core.drafters.base.ModelDrafter`."""

    name = "sd-classic"

    def __init__(
        self,
        identity: dict[str, Any],
        runner: ModelRunner,
        vocabularies: Vocabularies,
        grower: TreeGrower[torch.Tensor],
    ):
        """See `core.drafters.classic.ClassicDrafter`; the grower makes chains of the best tokens."""
        super().__init__(identity, runner, grower)
        self._vocabularies = vocabularies
        self._token_ids: list[int] = []  # the target's
        self._own: list[int] = []  # the text in the draft model's tokens
        self._pending = b""  # the beginning of a character, which nobody has read yet
        self._most = 0  # tokens of its own that it reads
        self._has_begun = False
        self._pass: DraftPass | None = None
        self._drafted: DraftTree | None = None  # in the draft model's tokens

    def begin(self, prompt_token_ids: list[int], max_length: int) -> None:
        """See `Drafter.begin`. A text beyond the draft model's context leaves it without drafts."""
        self._token_ids, self._own, self._pending = prompt_token_ids.copy(), [], b""
        self._pass = self._drafted = None
        self._read(prompt_token_ids)
        self._most = most_own_tokens(len(self._own), len(prompt_token_ids), max_length)
        self._most = min(self._most, self.own_runner.context_limit)
        self._has_begun = 0 < len(self._own) < self._most
        if self._has_begun:
            self.own_runner.begin(self._own, self._most, bool)

    def _read(self, token_ids: list[int]) -> None:
        """Puts the target's tokens behind the text."""
        for token_id in token_ids:
            data = self._vocabularies.target.ordinary.get(token_id)
            if data is None:
                self._split(self._pending)
                self._pending = b""
                self._own += self._vocabularies.own(token_id)
            else:
                self._pending += data
        whole = whole_characters(self._pending)
        self._split(whole)
        self._pending = self._pending[len(whole) :]

    def _split(self, data: bytes) -> None:
        """Splits bytes into tokens, together with the last ones before them."""
        if not data:
            return
        ordinary = self._vocabularies.draft.ordinary
        start = len(self._own)
        while start > 0 and self._own[start - 1] in ordinary:
            is_whole = (data[0] & _HIGH_BITS) != _CONTINUES  # where a character begins
            if is_whole and len(self._own) - start >= _LOOK_BACK:
                break
            start -= 1
            data = ordinary[self._own[start]] + data
        self._own[start:] = self._vocabularies.split(data.decode(errors="ignore"))

    def draft(self, root_token_id: int, limits: DraftLimits, cost: CostOfRows | None) -> DraftTree:
        """See `Drafter.draft`: a chain."""
        tree = DraftTree(root_token_id)
        self._pass = self._drafted = None
        room = self._most - len(self._own)
        if room < 1 or not self._has_begun:
            return tree
        self._pass = pass_behind(self.own_runner, self._own)
        own_limits = DraftLimits(limits.num_nodes, min(limits.depth, room))
        self._drafted = self._grow(self._own[-1], len(self._own), own_limits, cost, self._pass)
        for token_id, prob in self._in_target_tokens(self._drafted)[: limits.depth]:
            tree.add(len(tree) - 1, token_id, prob)
        return tree

    def _in_target_tokens(self, drafted: DraftTree) -> list[tuple[int, float]]:
        """The drafted text in the target's tokens, each with the chance of what it adds."""
        data, ends, reach = b"", [0], [1.0]
        ordinary = self._vocabularies.draft.ordinary
        for token_id, chance in zip(drafted.token_ids[1:], drafted.reach(), strict=True):
            if token_id not in ordinary:
                break
            data += ordinary[token_id]
            ends.append(len(data))
            reach.append(chance)
        if not data.startswith(self._pending):
            return []
        skipped = len(self._pending)
        text = whole_characters(data[skipped:]).decode(errors="ignore")
        found, end, before = [], skipped, 1.0
        for token_id in self._continued(text):
            end += len(self._vocabularies.target.ordinary.get(token_id, b""))
            # The draft tokens that the text up to here needs.
            needed = next(
                (index for index, place in enumerate(ends) if place >= end), len(ends) - 1
            )
            after = min(reach[needed], before)
            found.append((token_id, after / before if before else 0.0))
            before = after
        return found

    def _continued(self, text: str) -> list[int]:
        """The target's tokens of a text behind the last ones, as its tokenizer splits both together
        where that leaves the last ones as they are."""
        target = self._vocabularies.target
        if not text or self._pending:
            return target.encode(text) if text else []
        count = 0
        while count < min(_LOOK_BACK, len(self._token_ids)):
            if self._token_ids[-1 - count] not in target.ordinary:
                break
            count += 1
        for back in range(count, 0, -1):
            before = self._token_ids[-back:]
            try:
                known = target.bytes_of(before).decode()
            except UnicodeDecodeError:
                continue
            together = target.encode(known + text)
            if together[:back] == before:
                return together[back:]
        return target.encode(text)

    def commit(self, outcome: Outcome) -> None:
        """See `Drafter.commit`."""
        if self._drafted is not None:
            self._learn(self._drafted, [outcome.tree.token_ids[node] for node in outcome.path])
        self.follow(outcome.emitted_token_ids)

    def _learn(self, drafted: DraftTree, accepted: list[int]) -> None:
        """Tells the grower which of the draft model's own tokens were kept whole."""
        left = len(self._pending) + len(self._vocabularies.target.bytes_of(accepted))
        path: list[int] = []
        for node in range(1, len(drafted)):
            left -= len(self._vocabularies.draft.ordinary.get(drafted.token_ids[node], b""))
            if left < 0:
                break
            path.append(node)
        tested = path if len(path) == drafted.num_drafted else [*path, len(path) + 1]
        self.grower.learn(Outcome(drafted, path, tested, []))

    def follow(self, token_ids: list[int]) -> None:
        """See `Drafter.follow`: keeps of the cache what the text begins with."""
        computed: list[int] = []
        if self._pass is not None and self._pass.paths:
            computed = [*self._own, *self._pass.paths[-1]]
        elif self._has_begun:
            computed = self._own[: self.own_runner.cache.length]
        self._pass = self._drafted = None
        self._token_ids += token_ids
        self._read(token_ids)
        if not self._has_begun:
            return
        count = 0
        # The last token is computed with the next draft, for its logits.
        for known, now in zip(computed, self._own[:-1], strict=False):
            if known != now:
                break
            count += 1
        self.own_runner.adopt(self._own[:count])

    def finish(self) -> None:
        """See `Drafter.finish`."""
        self._pass = self._drafted = None
        self.own_runner.finish()


def most_own_tokens(num_own: int, num_prompt: int, max_length: int) -> int:
    """Room for a text in another model's tokens, of which there may be twice as many."""
    return num_own + 2 * (max_length - num_prompt) + 64
