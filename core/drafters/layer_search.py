"""Which layers of a target draft best for it: a search over sets of a given size.

A set is judged by how much its distribution overlaps the target's on text that the target itself
wrote: the sum of the smaller probabilities, which is the chance that rejection sampling accepts a
draft token (Leviathan et al. 2023). First every layer is judged by what is lost without it (as in
ShortGPT, Men et al. 2024), then layers are exchanged as long as that gains (as in Self-Speculative
Decoding, Zhang et al. 2024, with a fixed number of trials in place of a Bayesian search).
"""

import random
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from core.acceptance.sampling import TokenDrawer
from core.backends.logits import check_target
from core.backends.runner import ModelRunner
from core.backends.torch.forward import TorchForward
from core.backends.torch.weights import LayerStack
from core.config import SamplingConfig
from core.runtime.storage import Progress
from core.trees.tree import DraftTree

TOKENS_PER_TEXT = 48
NUM_EXCHANGES = 40


class LayerSet(NamedTuple):
    """Layers that draft, in order, and how well they do."""

    layers: tuple[int, ...]
    overlap: float
    """Mean overlap with the target's distribution, 0 to 1."""


class _Text(NamedTuple):
    token_ids: list[int]
    first: int
    """Row from which on the target wrote the next token."""
    probs: torch.Tensor  # [rows - first, vocab]


class LayerSearch:
    """Judges sets of layers of one target on a few texts of its own."""

    def __init__(self, runner: ModelRunner, prompts: Sequence[list[int]], progress: Progress):
        """Lets the target continue the prompts on a cache of its own.

        Raises BadLogitsError where it says no numbers.
        """
        self._runner = runner.sibling()
        forward = runner.forward
        assert isinstance(forward, TorchForward), "only our own forward can leave layers out"
        self._forward = forward
        self._progress = progress
        self._texts = []
        for index, prompt in enumerate(prompts):
            progress("writing calibration text", index, len(prompts))
            self._texts.append(self._write(prompt))

    def _write(self, prompt: list[int]) -> _Text:
        runner = self._runner
        drawer = TokenDrawer(SamplingConfig(do_sample=True), runner.vocab_size, runner.device)
        runner.forget()
        runner.begin(prompt, len(prompt) + TOKENS_PER_TEXT, bool)
        token_ids = prompt.copy()
        rows = []
        for _ in range(TOKENS_PER_TEXT):
            logits = runner.tree_forward(DraftTree(token_ids[-1]))
            check_target(logits.amax(dim=-1).tolist(), [len(token_ids)])
            logits = logits[0]
            rows.append(logits.softmax(dim=-1))
            runner.commit([])
            token_ids.append(drawer.draw(logits, len(token_ids)))
        return _Text(token_ids[:-1], len(prompt) - 1, torch.stack(rows))

    def judge(self, layers: Sequence[int]) -> LayerSet:
        """A set with its overlap."""
        chosen = tuple(sorted(layers))
        forward = self._forward.with_stack(subset(self._forward.stack, chosen))
        overlaps = []
        for text in self._texts:
            runner, count = self._runner, len(text.token_ids)
            runner.forget()
            runner.begin(text.token_ids[:1], count, bool)
            causal = torch.ones(count, count, dtype=torch.bool).tril()
            logits = runner.forward_rows(text.token_ids, range(count), causal, forward=forward)
            assert logits is not None
            # Of logits that are no numbers nothing is accepted.
            probs = logits[text.first :].float().softmax(dim=-1).nan_to_num_(nan=0.0)
            overlaps.append(torch.minimum(probs, text.probs).sum(dim=-1))
        return LayerSet(chosen, float(torch.cat(overlaps).mean()))

    def best_set(self, num_layers: int) -> LayerSet:
        """The best set found of so many layers; the same for the same target and texts."""
        everything = range(self._forward.shape.num_layers)
        total = len(everything) + NUM_EXCHANGES
        without = []
        for layer in everything:
            self._progress("choosing layers", layer, total)
            without.append(self.judge([other for other in everything if other != layer]).overlap)
        by_need = sorted(everything, key=lambda layer: without[layer])
        best = self.judge(by_need[:num_layers])
        return self._exchange(best, lambda done: self._progress("choosing layers", done, total))

    def _exchange(self, best: LayerSet, report: Callable[[int], None]) -> LayerSet:
        num_all = self._forward.shape.num_layers
        if len(best.layers) == num_all:
            return best
        chance = random.Random(0)
        for trial in range(NUM_EXCHANGES):
            report(num_all + trial)
            outside = [layer for layer in range(num_all) if layer not in best.layers]
            gone, new = chance.choice(best.layers), chance.choice(outside)
            other = self.judge([layer for layer in best.layers if layer != gone] + [new])
            if other.overlap > best.overlap:
                best = other
        return best


def subset(stack: LayerStack, layers: Sequence[int]) -> LayerStack:
    """The stack with these layers alone, each on its own place in the cache."""
    return LayerStack(
        layers=tuple(stack.layers[layer] for layer in layers),
        embedding=stack.embedding,
        final_norm=stack.final_norm,
        head=stack.head,
    )
