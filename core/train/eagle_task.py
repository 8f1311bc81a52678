"""An EAGLE-3 head as something to train."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from core.backends.torch.arithmetic import bounded_logits
from core.backends.torch.forward import RotaryTable
from core.backends.torch.linear import DenseLinear
from core.distributed.ranks import Rank
from core.drafters.eagle_head import EagleHead, HeadShape, head_config
from core.drafters.eagle_weights import HeadRows, HeadWeights
from core.families.architecture import Architecture, LayerKind, default_rotation
from core.loading.fingerprint import model_key
from core.loading.loading import LoadedModel
from core.train.distillation import (
    MOST_HELD_OUT_ROWS,
    Dealer,
    FrozenTarget,
    TargetView,
    TrainingData,
    chain_figures,
    mixed_precision,
    probs_of,
    soft_loss,
)
from core.train.eagle_unroll import unroll
from core.train.packing import PackedRows, frequent_ids
from core.train.trained import write_trained

# A later step's loss counts this much less than the one before (EAGLE-3's released training code).
_STEP_WEIGHT = 0.8
# Of heads for targets that have no base of their own.
_ROPE_THETA = 10_000.0


class EagleTask:
    """Implements `core.train.loop.Task`."""

    def __init__(
        self,
        target: LoadedModel,
        data: TrainingData,
        feature_layers: tuple[int, ...],
        options: argparse.Namespace,
        rank: Rank,
    ):
        """Raises InvalidSettingError for a target that our own forward cannot compute."""
        torch.manual_seed(options.seed)
        self._target = target
        self._feature_layers = feature_layers
        self._depth: int = options.depth
        self._frozen = FrozenTarget(target, feature_layers)
        shape = _shape(target, len(feature_layers), options)
        ids = frequent_ids(
            data.conversations, data.in_train, shape.draft_vocab_size, shape.vocab_size
        ).to(rank.device)
        self._ids = ids
        self.module = EagleHead(shape).to(rank.device)
        self.module.set_vocabulary(ids)
        output, norm = self._frozen.output, self._frozen.stack.final_norm
        assert isinstance(output.head, DenseLinear), "the target's weights are dense"
        with torch.no_grad():
            self.module.norm.weight.copy_(norm)
            self.module.lm_head.weight.copy_(output.head.weight[ids] * output.shape.logit_scale)
        self._dealer = Dealer(data.train, options.rows, options.seed, rank)
        self._held_out = data.held_out.thinned(MOST_HELD_OUT_ROWS)
        self._rows_at_once = max(1, options.rows // rank.num_ranks)
        rotation = default_rotation(shape.head_dim, shape.rope_theta)
        self._rotary = RotaryTable([rotation], target.dtype, rank.device)
        self._rotary.reserve(options.row_length + self._depth)
        self._device = rank.device
        self._losses = _losses
        if rank.device.type == "cuda":
            self._losses = torch.compile(_losses)

    def loss(self, step: int) -> torch.Tensor:
        """See `Task.loss`."""
        batch = self._dealer.batch(step)
        view = self._frozen(batch)
        with torch.no_grad():
            probs = self._probs(view.hidden)
            valid = _valid_anchors(batch, self._depth)
        loss: torch.Tensor = self._in_products(self._losses, batch, view, probs, valid)
        return loss

    def _in_products(
        self, function: Any, batch: PackedRows, view: TargetView, *more: torch.Tensor
    ) -> Any:
        """A function of an unrolled head, in the target's number format."""
        positions = view.text.positions
        given = _Given(
            # The tokens from the second one on.
            F.pad(batch.token_ids[:, 1:].long(), (0, self._depth + 1)),
            view.features,
            positions,
            [self._rotary.at(positions + step) for step in range(self._depth)],
            view.text.mask(LayerKind()),
        )
        with mixed_precision(self._target):
            head = self.module.weights(self._frozen.stack.embedding, self._feature_layers)
            return function(self.module.shape.architecture, head, given, *more)

    def _probs(self, hidden: torch.Tensor) -> torch.Tensor:
        """The target's probabilities from the second position on, padded behind the end.

        Returns  # [batch, length + depth, draft_vocab].
        """
        probs = [probs_of(self._frozen.output(part), self._ids) for part in hidden.split(4)]
        return F.pad(torch.cat(probs)[:, 1:], (0, 0, 0, self._depth + 1))

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """See `Task.evaluate`: greedy acceptance of a chain, from every answer token on."""
        accepted = torch.zeros(self._depth, device=self._device)
        num_anchors = torch.zeros((), device=self._device)
        overlap = torch.zeros((), device=self._device)
        for batch in self._held_out.parts(self._rows_at_once, self._device):
            view = self._frozen(batch)
            best = torch.cat(
                [self._frozen.output(part).argmax(-1) for part in view.hidden.split(4)]
            )
            best = F.pad(best[:, 1:], (0, self._depth + 1), value=-1)
            valid = _valid_anchors(batch, self._depth)
            right = valid[-1].clone()
            size = batch.token_ids.shape
            num_anchors += right.sum()
            for step, found in enumerate(self._in_products(_unrolled, batch, view)):
                drafted = self._ids[found.argmax(-1)].view(size)
                right &= drafted == best[:, step : step + size[1]]
                accepted[step] += right.sum()
                if step == 0:
                    probs = self._probs(view.hidden)[:, : size[1]]
                    own = found.softmax(-1).to(probs.dtype).view(*size, -1)
                    both = torch.minimum(probs, own).sum(-1)
                    overlap += (both.float() * valid[-1]).sum()
        figures = chain_figures(accepted, num_anchors)
        figures["overlap"] = float(overlap / num_anchors.clamp(min=1))
        return figures

    def save(self, folder: Path, figures: dict[str, float], step: int) -> None:
        """See `Task.save`: bf16 safetensors in the published names, and a description."""
        tensors = self.module.state_dict()
        del tensors["t2d"]  # the other direction of d2t
        config = head_config(self.module.shape, self._feature_layers)
        described = {**config, "target_sha256": model_key(self._target), "depth": self._depth}
        write_trained(tensors, folder, described, figures, step)


def _shape(target: LoadedModel, num_features: int, options: argparse.Namespace) -> HeadShape:
    """The target's own sizes, in a layer of Llama's form."""
    assert target.model_config is not None, "our own forward computes it"
    described = target.model_config.described
    shape, rotation = described.architecture, described.rotations[0].settings or {}
    return HeadShape(
        hidden_size=described.hidden_size,
        num_heads=shape.num_heads,
        num_kv_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        intermediate_size=options.width or described.inner_size,
        draft_vocab_size=options.draft_vocab,
        vocab_size=shape.vocab_size,
        num_features=num_features,
        norm_eps=shape.norm_eps,
        rope_theta=float(rotation.get("rope_theta", _ROPE_THETA)),
    )


def _valid_anchors(batch: PackedRows, depth: int) -> torch.Tensor:
    """Where step s, anchored at a position, drafts an answer's token of the same conversation.

    The drafted token stands s + 2 behind the anchor  # [depth, batch, length] bool.
    """
    length = batch.token_ids.shape[1]
    documents = F.pad(batch.documents, (0, depth + 1), value=-1)
    wanted = F.pad(batch.loss_mask, (0, depth + 1))
    steps = []
    for shift in range(2, depth + 2):
        same = documents[:, shift : shift + length] == batch.documents
        steps.append(same & wanted[:, shift : shift + length] & (batch.documents > 0))
    return torch.stack(steps)


class _Given(NamedTuple):
    """What `unroll` takes beside the head."""

    token_ids: torch.Tensor
    features: torch.Tensor
    positions: torch.Tensor
    rotations: Sequence[tuple[torch.Tensor, torch.Tensor]]
    mask: torch.Tensor


def _unrolled(shape: Architecture, head: HeadWeights, given: _Given) -> list[torch.Tensor]:
    """Logits of every step  # [batch * length, draft_vocab] each."""
    made: list[HeadRows] = unroll(shape, head, *given)
    return [bounded_logits(shape, head.stack.head(rows.normed)) for rows in made]


def _losses(
    shape: Architecture,
    head: HeadWeights,
    given: _Given,
    probs: torch.Tensor,  # [batch, length + depth, draft_vocab]
    valid: torch.Tensor,  # [depth, batch, length]
) -> torch.Tensor:
    depth, length = valid.shape[0], valid.shape[2]
    total = torch.zeros((), device=probs.device)
    for step, found in enumerate(_unrolled(shape, head, given)):
        wanted = probs[:, step : step + length].flatten(0, 1)
        total = total + _STEP_WEIGHT**step * soft_loss(found, wanted, valid[step].flatten().float())
    return total / sum(_STEP_WEIGHT**step for step in range(depth))
