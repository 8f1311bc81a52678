"""What a step did, packed into one buffer and read from the device at once."""

import math
from collections.abc import Callable
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from core.acceptance.base import Trial
from core.acceptance.device import Verdict
from core.backends.cuda.host_buffers import TwoHostBuffers
from core.decoding.logprobs import NOT_RECORDED, Logprobs
from core.decoding.logprobs_device import Facts, logprobs_of
from core.trees.tensors import Proposals, TreeRows
from core.trees.tree import DraftTree

_NUM_TREE = len(TreeRows._fields)
_NUM_FIXED = _NUM_TREE + len(Verdict._fields)
_PROPOSED, _REACH, _ARE_NUMBERS = (
    _NUM_FIXED + Proposals._fields.index(name) for name in ("nodes", "reach", "are_numbers")
)


class StepTensors(NamedTuple):
    """All results of a step, on the device."""

    tree: TreeRows
    verdict: Verdict
    proposals: Proposals | None
    facts: Facts | None
    """None where the trace is off."""


class StepNumbers(NamedTuple):
    """The same as Python numbers."""

    tree: DraftTree
    path: list[int]
    next_token_id: int
    reach: list[float]
    """See `Proposals.reach`; empty where the device did not draft."""
    trials: list[Trial]
    """Of all nodes; empty without sampling."""
    is_usable: bool
    """Whether the target's tokens could be chosen by its logits."""
    are_drafts_numbers: bool
    """Whether the drafter's could; without a drafter on the device they are not asked about. Else
    nothing here means anything."""
    read_logprobs: Callable[[bool], Logprobs]
    """Reads the rest, given whether the run goes on after the path; it also tells the tree what
    was proposed at its nodes."""


class Readout:
    """The buffers of one kind of step: on the device, and two on the host, where copies go in turn."""

    def __init__(self) -> None:
        self._shapes: list[tuple[torch.Size, bool]] = []
        self._starts: list[int] = []
        self._packed = torch.empty(0, dtype=torch.int32)
        self._hosts: TwoHostBuffers | None = None
        self._has_proposals = self._has_facts = False

    def pack(self, step: StepTensors) -> None:
        """Copies all results behind each other; the same kind of step each time."""
        tensors = _flat(step)
        pieces = [
            tensor.flatten().view(torch.int32)
            if tensor.is_floating_point()
            else tensor.flatten().to(torch.int32)
            for tensor in tensors
        ]
        packed = torch.cat(pieces)
        if not self._shapes:
            self._shapes = [(tensor.shape, tensor.is_floating_point()) for tensor in tensors]
            self._starts = list(accumulate((len(piece) for piece in pieces), initial=0))
            self._packed = torch.empty_like(packed)
            self._hosts = TwoHostBuffers(packed.shape, torch.int32, packed.device)
            self._has_proposals = step.proposals is not None
            self._has_facts = step.facts is not None
        self._packed.copy_(packed)

    def fetch(self) -> torch.Tensor:
        """Starts the copy to the host, and returns where it goes: the next copy goes elsewhere, the
        one after that here again."""
        assert self._hosts is not None, "pack() comes first"
        return self._hosts.next().copy_(self._packed, non_blocking=True)

    def numbers(self, fetched: torch.Tensor) -> StepNumbers:
        """The results, once their copy is done; the buffer may then be written over."""
        given = fetched.numpy().copy()
        token_ids, parents, _, probs, num_nodes = self._lists(given, 0, _NUM_TREE)
        path, num_accepted, next_token_id, noises, thresholds, usable = self._lists(
            given, _NUM_TREE, _NUM_FIXED
        )
        reach, are_numbers = [], True
        if self._has_proposals:
            reach, (are_numbers,) = self._lists(given, _REACH, _ARE_NUMBERS + 1)
        tree = DraftTree(token_ids[0])
        for node in range(1, num_nodes[0] if are_numbers else 1):
            tree.add(parents[node], token_ids[node], probs[node])

        def read_logprobs(has_next: bool) -> Logprobs:
            if self._has_proposals:
                proposed = self._lists(given, _PROPOSED, _REACH)
                for node, ids, chances in zip(*proposed, strict=True):
                    if 0 <= node < len(tree):
                        tree.set_top_k(node, ids, chances)
            if not self._has_facts:
                return NOT_RECORDED
            count = len(self._shapes)
            entropies, probs, top_ids, top_probs = self._lists(given, count - 4, count)
            return logprobs_of(entropies, probs, top_ids, top_probs, len(tree), has_next=has_next)

        trials = [
            Trial(noise, threshold if math.isfinite(threshold) else None)
            for noise, threshold in zip(noises, thresholds, strict=True)
        ]
        return StepNumbers(
            tree=tree,
            path=path[1 : num_accepted[0] + 1],
            next_token_id=next_token_id[0],
            reach=reach,
            trials=trials,
            is_usable=bool(usable[0]),
            are_drafts_numbers=bool(are_numbers),
            read_logprobs=read_logprobs,
        )

    def _lists(self, given: npt.NDArray[np.int32], first: int, end: int) -> list[list[Any]]:
        """Some of the tensors as nested lists."""
        lists = []
        for index in range(first, end):
            shape, is_float = self._shapes[index]
            piece = given[self._starts[index] : self._starts[index + 1]]
            lists.append((piece.view(np.float32) if is_float else piece).reshape(shape).tolist())
        return lists


def _flat(step: StepTensors) -> list[torch.Tensor]:
    tensors = [*step.tree, *step.verdict]
    if step.proposals is not None:
        tensors += step.proposals
    if step.facts is not None:
        tensors += step.facts
    return tensors
