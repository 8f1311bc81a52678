"""What a step did, packed into one buffer and read from the device at once."""

import math
from collections.abc import Callable, Sequence
from functools import partial
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
_REACH = _NUM_FIXED + Proposals._fields.index("reach")


class StepTensors(NamedTuple):
    """All results of a step, on the device; of each tensor the first dimension is the sequences'."""

    tree: TreeRows
    verdict: Verdict
    proposals: Proposals | None
    facts: Facts | None
    """None where the trace is off."""


class StepNumbers(NamedTuple):
    """The same of one sequence, as Python numbers."""

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

    def numbers(self, fetched: torch.Tensor, most_depths: Sequence[int]) -> list[StepNumbers]:
        """The results of the first sequences, once their copy is done; the buffer may then be written
        over. Of each, no nodes below its depth are told: the step ends with the token that stands there.
        """
        given = fetched.numpy().copy()
        end = _NUM_FIXED + (len(Proposals._fields) if self._has_proposals else 0)
        lists = [self._array(given, index).tolist() for index in range(end)]

        def facts_of(sequence: int) -> list[Any]:
            first = len(self._shapes) - len(Facts._fields)
            count = len(self._shapes) if self._has_facts else first
            return [self._array(given, index)[sequence].tolist() for index in range(first, count)]

        return [
            _numbers([each[sequence] for each in lists], most_depth, partial(facts_of, sequence))
            for sequence, most_depth in enumerate(most_depths)
        ]

    def _array(self, given: npt.NDArray[np.int32], index: int) -> npt.NDArray[Any]:
        """One of the tensors."""
        shape, is_float = self._shapes[index]
        piece = given[self._starts[index] : self._starts[index + 1]]
        return (piece.view(np.float32) if is_float else piece).reshape(shape)


def _numbers(lists: list[Any], most_depth: int, facts_of: Callable[[], list[Any]]) -> StepNumbers:
    """Of one sequence; `facts_of` reads what is recorded of it."""
    token_ids, parents, depths, probs, num_nodes = lists[:_NUM_TREE]
    path, num_accepted, next_token_id, noises, thresholds, is_usable = lists[_NUM_TREE:_NUM_FIXED]
    proposals = Proposals(*lists[_NUM_FIXED:]) if lists[_NUM_FIXED:] else None
    are_numbers = proposals is None or bool(proposals.are_numbers)
    nodes = [0]
    if are_numbers:
        nodes += (node for node in range(1, num_nodes) if depths[node] <= most_depth)
    tree, place_of = DraftTree(token_ids[0]), {0: 0}
    for node in nodes[1:]:
        place_of[node] = tree.add(place_of[parents[node]], token_ids[node], probs[node])
    path = path[1 : num_accepted + 1]
    cut = path[most_depth] if len(path) > most_depth else None

    def read_logprobs(has_next: bool) -> Logprobs:
        if proposals is not None:
            for node, ids, chances in zip(*proposals[:3], strict=True):
                if node in place_of:
                    tree.set_top_k(place_of[node], ids, chances)
        facts = facts_of()
        if not facts:
            return NOT_RECORDED
        entropies, of_tokens, top_ids, top_probs = (
            [of_nodes[node] for node in nodes] for of_nodes in facts
        )
        if cut is not None:
            of_tokens[0] = facts[1][cut]
        return logprobs_of(entropies, of_tokens, top_ids, top_probs, len(tree), has_next=has_next)

    trials = [
        Trial(noises[node], thresholds[node] if math.isfinite(thresholds[node]) else None)
        for node in nodes
        if noises
    ]
    return StepNumbers(
        tree=tree,
        path=[place_of[node] for node in path[:most_depth]] if are_numbers else [],
        next_token_id=next_token_id if cut is None else token_ids[cut],
        reach=[] if proposals is None else lists[_REACH],
        trials=trials,
        is_usable=bool(is_usable),
        are_drafts_numbers=are_numbers,
        read_logprobs=read_logprobs,
    )


def _flat(step: StepTensors) -> list[torch.Tensor]:
    tensors = [*step.tree, *step.verdict]
    if step.proposals is not None:
        tensors += step.proposals
    if step.facts is not None:
        tensors += step.facts
    return tensors
