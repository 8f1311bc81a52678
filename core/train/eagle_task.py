"""An EAGLE-3 head as something to train."""

import argparse
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from core.distributed.ranks import Rank
from core.drafters.eagle_head import EagleHead, HeadShape, write_parts
from core.loading.fingerprint import model_key
from core.loading.loading import LoadedModel
from core.runtime.strict_json import dumps
from core.train.batched_llama import Rotation, rotation_of
from core.train.distillation import (
    MOST_HELD_OUT_ROWS,
    Dealer,
    FrozenTarget,
    TrainingData,
    chain_figures,
    mixed_precision,
    soft_loss,
    target_probs,
)
from core.train.eagle_unroll import head_logits, unroll
from core.train.packing import PackedRows, frequent_ids

# A later step's loss counts this much less than the one before (EAGLE-3's released training code).
_STEP_WEIGHT = 0.8
_MOST_FILE_BYTES = 15_000_000


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
        torch.manual_seed(options.seed)
        self._target = target
        self._feature_layers = feature_layers
        self._depth: int = options.depth
        self._frozen = FrozenTarget(target.module, feature_layers)
        config = target.module.config
        head = EagleHead(_shape(target.module, len(feature_layers), options))
        ids = frequent_ids(
            data.conversations, data.in_train, options.draft_vocab, config.vocab_size
        )
        head.set_vocabulary(ids)
        with torch.no_grad():
            head.lm_head.weight.copy_(target.module.lm_head.weight[ids.to(rank.device)])
            head.norm.weight.copy_(target.module.base_model.norm.weight)
        self.module = head.to(rank.device)
        self._ids = ids.to(rank.device)
        self._dealer = Dealer(data.train, options.rows, options.seed, rank)
        self._held_out = data.held_out.thinned(MOST_HELD_OUT_ROWS)
        self._rows_at_once = max(1, options.rows // rank.num_ranks)
        positions = torch.arange(options.row_length + self._depth, device=rank.device)
        self._rotation = rotation_of(target.module, positions)
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
            embeddings = self._embeddings(batch)
        with mixed_precision(self._target):
            return self._losses(
                self.module, embeddings, view.features, self._rotation, view.mask, probs, valid
            )

    def _probs(self, hidden: torch.Tensor) -> torch.Tensor:
        """The target's probabilities from the second position on, padded behind the end.

        Returns  # [batch, length + depth, draft_vocab].
        """
        probs = torch.cat(
            [target_probs(part, self._frozen.head_weight, self._ids) for part in hidden.split(4)]
        )
        return F.pad(probs[:, 1:], (0, 0, 0, self._depth + 1))

    def _embeddings(self, batch: PackedRows) -> torch.Tensor:
        """Of the tokens from the second one on  # [batch, length + depth, hidden]."""
        ids = F.pad(batch.token_ids[:, 1:].long(), (0, self._depth + 1))
        return F.embedding(ids, self._target.module.base_model.embed_tokens.weight)

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """See `Task.evaluate`: greedy acceptance of a chain, from every answer token on."""
        accepted = torch.zeros(self._depth, device=self._device)
        num_anchors = torch.zeros((), device=self._device)
        overlap = torch.zeros((), device=self._device)
        for start in range(0, len(self._held_out.token_ids), self._rows_at_once):
            batch = PackedRows(
                *(
                    part[start : start + self._rows_at_once].to(self._device)
                    for part in self._held_out
                )
            )
            view = self._frozen(batch)
            best = torch.cat(
                [
                    F.linear(part, self._frozen.head_weight).argmax(-1)
                    for part in view.hidden.split(4)
                ]
            )
            best = F.pad(best[:, 1:], (0, self._depth + 1), value=-1)
            valid = _valid_anchors(batch, self._depth)
            with mixed_precision(self._target):
                states = unroll(
                    self.module, self._embeddings(batch), view.features, self._rotation,
                    view.mask, self._depth,
                )  # fmt: skip
                right = valid[-1].clone()
                length = batch.token_ids.shape[1]
                num_anchors += right.sum()
                for step, state in enumerate(states):
                    logits = head_logits(self.module, state)
                    drafted = self._ids[logits.argmax(-1)]
                    right &= drafted == best[:, step : step + length]
                    accepted[step] += right.sum()
                    if step == 0:
                        probs = self._probs(view.hidden)[:, :length]
                        both = torch.minimum(probs, logits.softmax(-1).to(probs.dtype)).sum(-1)
                        overlap += (both.float() * valid[-1]).sum()
        figures = chain_figures(accepted, num_anchors)
        figures["overlap"] = float(overlap / num_anchors.clamp(min=1))
        return figures

    def save(self, folder: Path, figures: dict[str, float], step: int) -> None:
        """See `Task.save`: bf16 safetensors in the published names, and a description."""
        tensors = {
            name: tensor.to(torch.bfloat16) if tensor.is_floating_point() else tensor
            for name, tensor in self.module.state_dict().items()
            if name != "t2d"  # the other direction of d2t
        }
        write_parts(tensors, folder, {"format": "pt"}, _MOST_FILE_BYTES)
        description: dict[str, Any] = {
            "format": "eagle3",
            "target_sha256": model_key(self._target),
            "feature_layers": list(self._feature_layers),
            "depth": self._depth,
            "steps": step,
            "held_out": {name: round(value, 4) for name, value in figures.items()},
            **self.module.shape._asdict(),
        }
        (folder / "config.json").write_text(dumps(description, indent=1) + "\n")


def _shape(module: Any, num_features: int, options: argparse.Namespace) -> HeadShape:
    config = module.config
    return HeadShape(
        hidden_size=config.hidden_size,
        num_heads=config.num_attention_heads,
        num_kv_heads=config.num_key_value_heads,
        head_dim=module.base_model.layers[0].self_attn.head_dim,
        intermediate_size=options.width or config.intermediate_size,
        draft_vocab_size=options.draft_vocab,
        vocab_size=config.vocab_size,
        num_features=num_features,
        norm_eps=config.rms_norm_eps,
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


def _losses(
    head: EagleHead,
    embeddings: torch.Tensor,  # [batch, length + depth, hidden]
    features: torch.Tensor,  # [batch, length, num_features * hidden]
    rotation: Rotation,
    mask: torch.Tensor,  # [batch, 1, length, length]
    probs: torch.Tensor,  # [batch, length + depth, draft_vocab]
    valid: torch.Tensor,  # [depth, batch, length]
) -> torch.Tensor:
    depth, length = valid.shape[0], features.shape[1]
    states = unroll(head, embeddings, features, rotation, mask, depth)
    total = torch.zeros((), device=features.device)
    for step, state in enumerate(states):
        wanted = probs[:, step : step + length]
        weight = _STEP_WEIGHT**step
        total = total + weight * soft_loss(head_logits(head, state), wanted, valid[step].float())
    return total / sum(_STEP_WEIGHT**step for step in range(depth))
