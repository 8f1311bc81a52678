"""What both trainings take from the target and from the data."""

from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from core.distributed.ranks import Rank
from core.errors import InvalidSettingError
from core.loading.fingerprint import model_key
from core.loading.loading import LoadedModel
from core.train.batched_llama import PackedForward, packed_mask
from core.train.packing import PackedRows, pack, rows_of_step
from core.train.shards import Conversations, read_manifest, read_shards

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

    features: torch.Tensor  # [batch, length, num_features * hidden]
    hidden: torch.Tensor  # [batch, length, hidden]
    """Normed, as its output layer reads it."""
    mask: torch.Tensor  # [batch, 1, length, length]


def mixed_precision(target: LoadedModel) -> torch.autocast:
    """Products in the target's bfloat16 over float32 weights of the drafter; nothing where the
    target is in float32."""
    return torch.autocast(
        target.device.type, torch.bfloat16, enabled=target.dtype == torch.bfloat16
    )


class FrozenTarget:
    """The target over packed rows, without gradients."""

    def __init__(self, module: Any, feature_layers: tuple[int, ...] = ()):
        self._forward = PackedForward(module)
        self._feature_layers = feature_layers
        self.module = module
        self.head_weight: torch.Tensor = module.lm_head.weight

    @torch.no_grad()
    def __call__(self, batch: PackedRows) -> TargetView:
        mask = packed_mask(batch.documents, self.module.dtype)
        hidden, kept = self._forward(batch.token_ids.long(), mask, self._feature_layers)
        return TargetView(torch.cat(kept, dim=-1) if kept else hidden, hidden, mask)


def target_probs(
    hidden: torch.Tensor,  # [..., hidden]
    head_weight: torch.Tensor,  # [vocab, hidden]
    ids: torch.Tensor | None,  # [draft_vocab]
) -> torch.Tensor:
    """The target's probabilities at temperature 1, of some ids only  # [..., draft_vocab].

    What other ids have is missing from the sum.
    """
    logits = F.linear(hidden, head_weight)
    log_probs = logits.float().log_softmax(dim=-1)
    chosen = log_probs if ids is None else log_probs[..., ids]
    return chosen.exp().to(hidden.dtype)


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
