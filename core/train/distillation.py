"""What both trainings take from the target and from the data."""

from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import torch

from core.backends.torch.arithmetic import bounded_logits
from core.backends.torch.linear import Linear
from core.distributed.ranks import Rank
from core.errors import InvalidSettingError
from core.families.architecture import Architecture
from core.loading.fingerprint import model_key
from core.loading.loading import LoadedModel
from core.train.packed_forward import PackedForward, PackedText
from core.train.packing import PackedRows, pack, rows_of_step
from core.train.shards import Conversations, read_manifest, read_shards
from core.train.teacher import own_forward

# Figures on the way are taken on so many held-out rows.
MOST_HELD_OUT_ROWS = 64


class TrainingData(NamedTuple):
    """The two splits, packed; figures are taken on held-out greedy answers, where the target's
    own continuation is the text."""

    conversations: Conversations
    train: PackedRows
    held_out: PackedRows

    @property
    def in_train(self) -> torch.Tensor:
        """Which conversations are trained on  # [count] bool."""
        return ~self.conversations.is_held_out


def load_data(folder: Path, target: LoadedModel, row_length: int, share: float) -> TrainingData:
    """Reads a folder of shards and packs both splits; `share` of the training rows is used.

    Raises InvalidSettingError for data that another target wrote, and for an empty split.
    """
    manifest = read_manifest(folder)
    if manifest is None:
        raise InvalidSettingError(
            f"{folder} has no manifest; give a folder that core.train.generate_data wrote."
        )
    if manifest["settings"]["target_key"] != model_key(target):
        raise InvalidSettingError(
            f"{folder} was written by {manifest['settings']['target']}, whose weights are not those "
            f"of {target.identity.name}; generate data with this target."
        )
    data = read_shards(folder)
    train = pack(data, ~data.is_held_out, row_length)
    held_out = pack(data, data.is_held_out & (data.temperatures == 0), row_length)
    used = max(1, round(len(train.token_ids) * share))
    return TrainingData(
        data, PackedRows(*(part[:: max(1, round(1 / share))][:used] for part in train)), held_out
    )


class Dealer:
    """Deals batches of a rank."""

    def __init__(self, rows: PackedRows, per_step: int, seed: int, rank: Rank):
        """`per_step` rows in all ranks together."""
        if per_step % rank.num_ranks:
            raise InvalidSettingError(
                f"--rows is {per_step} for {rank.num_ranks} processes; give a multiple of them."
            )
        # Rows stay where they are used: a batch is then one indexing.
        self._rows = PackedRows(*(part.to(rank.device) for part in rows))
        self._per_step, self._seed, self._rank = per_step, seed, rank

    def batch(self, step: int) -> PackedRows:
        """This rank's rows of a step."""
        picked = rows_of_step(len(self._rows.token_ids), self._per_step, step, self._seed)
        mine = picked[self._rank.number :: self._rank.num_ranks].to(self._rank.device)
        return PackedRows(*(part[mine] for part in self._rows))


class TargetView(NamedTuple):
    """What the target says of a batch."""

    text: PackedText
    features: torch.Tensor  # [batch, length, num_features * hidden]
    hidden: torch.Tensor  # [batch, length, hidden]
    """Normed, as its output layer reads it."""


def mixed_precision(target: LoadedModel) -> torch.autocast:
    """Products in the target's bfloat16 over float32 weights of the drafter; nothing where the
    target is in float32."""
    return torch.autocast(
        target.device.type, torch.bfloat16, enabled=target.dtype == torch.bfloat16
    )


class OutputLayer(NamedTuple):
    """What makes logits of normed states."""

    shape: Architecture
    head: Linear

    def __call__(
        self,
        normed: torch.Tensor,  # [..., hidden]
    ) -> torch.Tensor:
        """# [..., vocab]"""
        return bounded_logits(self.shape, self.head(normed))


class FrozenTarget:
    """The target over packed rows, without gradients."""

    def __init__(self, target: LoadedModel, feature_layers: tuple[int, ...] = ()):
        """Raises as `own_forward` does."""
        forward = own_forward(target)
        self.stack = forward.stack
        self.output = OutputLayer(forward.shape, forward.stack.head)
        self._forward = PackedForward(forward.shape, forward.rotary, target.device)
        self._feature_layers = feature_layers
        self._dtype = target.dtype

    @torch.no_grad()
    def __call__(self, batch: PackedRows) -> TargetView:
        text = PackedText(batch.documents, self._dtype)
        made = self._forward(self.stack, batch.token_ids.long(), text, self._feature_layers)
        return TargetView(text, made.kept, made.normed)


def probs_of(
    logits: torch.Tensor,  # [..., vocab]
    ids: torch.Tensor | None = None,  # [draft_vocab]
) -> torch.Tensor:
    """Probabilities at temperature 1, of some ids only  # [..., draft_vocab].

    What other ids have is missing from the sum.
    """
    log_probs = logits.float().log_softmax(dim=-1)
    chosen = log_probs if ids is None else log_probs[..., ids]
    return chosen.exp().to(logits.dtype)


def soft_loss(
    logits: torch.Tensor,  # [..., draft_vocab]
    probs: torch.Tensor,  # [..., draft_vocab]
    weights: torch.Tensor,  # [...]
) -> torch.Tensor:
    """Mean cross-entropy against probabilities where the weights say."""
    losses = -(probs.float() * logits.float().log_softmax(dim=-1)).sum(dim=-1)
    return (losses * weights).sum() / weights.sum().clamp(min=1)


def chain_figures(accepted: torch.Tensor, valid: torch.Tensor) -> dict[str, float]:
    """Acceptance of each depth given the one before, and tau of a greedy chain.

    `accepted[d]` and `valid` are counts: anchors whose first d + 1 drafts are all right, and all
    anchors  # [depth], scalar.
    """
    counts = [float(valid), *accepted.tolist()]
    figures = {"tau chain": sum(counts) / max(counts[0], 1.0)}
    for depth, (before, here) in enumerate(pairwise(counts), 1):
        figures[f"depth {depth}"] = here / max(before, 1.0)
    return figures
