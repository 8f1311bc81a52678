"""What penalties, biases, banned ends and a constraint make of the target's logits, at every node of a
draft tree.

They are part of the target's law. What they change depends on the tokens before, so that each node has
the correction of its own path: prompt, answer, and the drafted tokens down to it. A row's numbers are
those that plain decoding would give it, in every bit, whatever stands beside it.

The order is that of transformers' logits processors and of vLLM: bias; repetition penalty (Keskar et
al. 2019), over prompt and answer; frequency and presence penalty, over the answer alone; then the ends
that may not come yet, and what the constraint forbids. Temperature and what narrows the distribution
come after (`core.acceptance.sampling.log_probs_under`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence, Set
from typing import TYPE_CHECKING

import torch

from core.errors import InvalidSettingError
from core.trees.tensors import ancestor_mask
from core.trees.tree import DraftTree

if TYPE_CHECKING:
    from core.acceptance.constraint import Constraint
    from core.acceptance.sampling_config import SamplingConfig


class Corrections:
    """Those of one run. Calls come in the order begin, (corrected, commit)*."""

    def __init__(
        self,
        sampling: SamplingConfig,
        biases: Mapping[int, float],
        vocab_size: int,
        end_token_ids: Set[int],
        constraint: Constraint | None = None,
    ):
        """`biases` are what `sampling.logit_bias` adds to the logits of token ids, and `constraint` is
        what `sampling.constraint` asks for."""
        self.constraint = constraint
        self._sampling = sampling
        self._biases = biases
        self._vocab_size = vocab_size
        is_short = sampling.ignore_eos or sampling.min_new_tokens > 0
        self._ends = {end for end in end_token_ids if end < vocab_size} if is_short else set()
        self._penalises = bool(sampling.frequency_penalty or sampling.presence_penalty)
        self._repeats = sampling.repetition_penalty != 1.0
        self._prompt: set[int] = set()
        self._counts: Counter[int] = Counter()
        """How often each token stands in the answer."""
        self._num_new = 0

    def begin(self, prompt_token_ids: list[int], answer_token_ids: Sequence[int] = ()) -> None:
        """Starts a run behind a prompt, or behind the beginning of an answer to it.

        Raises InvalidSettingError for a beginning that could not have been chosen: one with an end that
        is banned there, or that the constraint does not allow.
        """
        self._prompt = set(prompt_token_ids) if self._repeats else set()
        self._counts = Counter(answer_token_ids)
        self._num_new = len(answer_token_ids)
        limit = (
            len(answer_token_ids) if self._sampling.ignore_eos else self._sampling.min_new_tokens
        )
        for place, token_id in enumerate(answer_token_ids[:limit]):
            if token_id in self._ends:
                name = "ignore_eos" if self._sampling.ignore_eos else "min_new_tokens"
                raise InvalidSettingError(
                    f"token {place + 1} of the answer is an end, which {name} does not allow there; "
                    "choose another token."
                )
        if self.constraint is not None:
            self.constraint.begin(answer_token_ids)

    def commit(self, token_ids: list[int]) -> None:
        """The tokens that a step adds to the answer."""
        self._counts.update(token_ids)
        self._num_new += len(token_ids)
        if self.constraint is not None:
            self.constraint.commit(token_ids)

    def corrected(
        self,
        logits: torch.Tensor,  # [rows, vocab]
        tree: DraftTree,
        nodes: Sequence[int] | None = None,
    ) -> torch.Tensor:
        """The logits by which the token after each node is chosen; those given stay as they are.

        There is a row for each of `nodes`, or for all of the tree  # [rows, vocab]
        """
        nodes = range(len(tree)) if nodes is None else nodes
        logits = self._reweighed(logits, tree, nodes)
        if self.constraint is None:
            return logits
        allowed = self.constraint.allowed(tree, nodes).to(logits.device)
        return logits.masked_fill(~allowed, -torch.inf)

    def forced(
        self,
        corrected: torch.Tensor,  # [num_nodes, vocab]
        tree: DraftTree,
        path: Sequence[int],
    ) -> frozenset[int]:
        """The nodes of an accepted path in whose place the constraint allowed nothing else."""
        if self.constraint is None or not path:
            return frozenset()
        rows = corrected[[tree.parents[node] for node in path]]
        counts = (rows > -torch.inf).sum(dim=-1).tolist()
        return frozenset(node for node, count in zip(path, counts, strict=True) if count == 1)

    def _reweighed(
        self,
        logits: torch.Tensor,  # [rows, vocab]
        tree: DraftTree,
        nodes: Sequence[int],
    ) -> torch.Tensor:
        """What all but the constraint make of them  # [rows, vocab]"""
        columns = self._columns(tree)
        if not columns:
            return logits
        device = logits.device
        ids = torch.tensor(columns, device=device)
        values = logits[:, ids]  # [rows, columns]
        if self._biases:
            biases = [self._biases.get(token_id, 0.0) for token_id in columns]
            values = values + torch.tensor(biases, dtype=values.dtype, device=device)
        if self._repeats or self._penalises:
            values = self._penalised(values, columns, tree, nodes)
        if self._ends:
            limit = self._sampling.min_new_tokens
            is_short = torch.tensor(
                [
                    self._sampling.ignore_eos or self._num_new + tree.depths[node] < limit
                    for node in nodes
                ],
                device=device,
            )
            is_end = torch.tensor([token_id in self._ends for token_id in columns], device=device)
            values = values.masked_fill(is_short[:, None] & is_end, -torch.inf)
        return logits.index_copy(1, ids, values)

    def _columns(self, tree: DraftTree) -> list[int]:
        """The tokens whose logits anything may change at some node."""
        columns = {*self._biases, *self._ends, *self._prompt}
        if self._repeats or self._penalises:
            columns.update(self._counts, tree.token_ids[1:])
        return sorted(token_id for token_id in columns if token_id < self._vocab_size)

    def _penalised(
        self,
        values: torch.Tensor,  # [rows, columns]
        columns: list[int],
        tree: DraftTree,
        nodes: Sequence[int],
    ) -> torch.Tensor:
        """The logits of tokens less what they pay for standing before a node  # [rows, columns].

        Every product and difference is rounded by itself, so that a row alone has the same bits.
        """
        counts = torch.tensor([float(self._counts[token_id]) for token_id in columns])
        counts = counts.expand(len(nodes), -1).clone()  # [rows, columns]
        place_of = {token_id: place for place, token_id in enumerate(columns)}
        # The root is committed, and counted.
        drafted = [node for node in range(1, len(tree)) if tree.token_ids[node] in place_of]
        if drafted:
            places = torch.tensor([place_of[tree.token_ids[node]] for node in drafted])
            is_above = ancestor_mask(tree.parents)[list(nodes)][:, drafted]
            counts.index_add_(1, places, is_above.to(counts.dtype))
        counts = counts.to(values.device)
        if self._repeats:
            penalty = self._sampling.repetition_penalty
            is_prompt = torch.tensor([token_id in self._prompt for token_id in columns])
            is_seen = is_prompt.to(values.device) | (counts > 0)
            smaller = torch.where(values < 0, values * penalty, values / penalty)
            values = torch.where(is_seen, smaller, values)
        if self._penalises:
            values = values - counts * self._sampling.frequency_penalty
            values = values - (counts > 0).to(values.dtype) * self._sampling.presence_penalty
        return values
