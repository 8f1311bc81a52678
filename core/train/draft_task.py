"""A small draft model as something to train: a few-layer Llama that imitates the target."""

import argparse
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from core.backends.torch.forward import RotaryTable
from core.distributed.ranks import Rank
from core.loading.fingerprint import model_key
from core.loading.loading import LoadedModel
from core.loading.weight_loading import trained_stack
from core.models.model_config import model_config_of
from core.models.transformers_loading import read_transformers_tokenizer
from core.runtime.strict_json import dumps
from core.runtime.written_files import give_usual_modes
from core.train.distillation import (
    MOST_HELD_OUT_ROWS,
    Dealer,
    FrozenTarget,
    OutputLayer,
    TargetView,
    TrainingData,
    chain_figures,
    mixed_precision,
    probs_of,
    soft_loss,
)
from core.train.packed_forward import PackedForward
from core.train.packing import PackedRows

_DEPTHS = 5
_SHARD_SIZE = "15MB"


class DraftTask:
    """Implements `core.train.loop.Task`."""

    def __init__(
        self, target: LoadedModel, data: TrainingData, options: argparse.Namespace, rank: Rank
    ):
        from transformers import LlamaConfig, LlamaForCausalLM

        torch.manual_seed(options.seed)
        self._target = target
        self._frozen = FrozenTarget(target)
        assert target.model_config is not None, "our own forward computes it"
        described, ends = target.model_config.described, sorted(target.eos_token_ids)
        num_heads = options.hidden_size // options.head_dim
        self._config = LlamaConfig(
            vocab_size=described.architecture.vocab_size,
            hidden_size=options.hidden_size,
            intermediate_size=4 * options.hidden_size,
            num_hidden_layers=options.num_layers,
            num_attention_heads=num_heads,
            num_key_value_heads=num_heads,
            head_dim=options.head_dim,
            max_position_embeddings=described.context_length,
            rms_norm_eps=described.architecture.norm_eps,
            tie_word_embeddings=True,
            bos_token_id=None,
            eos_token_id=ends,
        )
        model: Any = LlamaForCausalLM(self._config)
        self.module = model.to(rank.device)
        own = model_config_of(model)
        self._described = own.described
        rotary = RotaryTable(own.rotations, target.dtype, rank.device)
        self._forward = PackedForward(own.architecture, rotary, rank.device)
        self._dealer = Dealer(data.train, options.rows, options.seed, rank)
        self._held_out = data.held_out.thinned(MOST_HELD_OUT_ROWS)
        self._rows_at_once = max(1, options.rows // rank.num_ranks)
        self._device = rank.device
        self._loss = _loss
        if rank.device.type == "cuda":
            self._loss = torch.compile(_loss)

    def loss(self, step: int) -> torch.Tensor:
        """See `Task.loss`."""
        batch = self._dealer.batch(step)
        view = self._frozen(batch)
        valid = _valid_positions(batch)
        with mixed_precision(self._target):
            hidden, output = self._states(batch, view)
            # Positions that count for nothing need no row over the vocabulary; the number of rows
            # is rounded up, so that few sizes are compiled.
            places = valid.flatten().nonzero()[:, 0]
            rows = min(-(-len(places) // 4096) * 4096, valid.numel())
            weights = torch.zeros(rows, device=self._device)
            weights[: len(places)] = 1.0
            places = F.pad(places, (0, rows - len(places)))
            return self._loss(
                hidden.flatten(0, 1)[places],
                view.hidden.flatten(0, 1)[places],
                output,
                self._frozen.output,
                weights,
            )

    def _states(self, batch: PackedRows, view: TargetView) -> "_States":
        """What the model makes of a batch, through which gradients flow."""
        stack = trained_stack(self.module, self._described)
        made = self._forward(stack, batch.token_ids.long(), view.text)
        return _States(made.normed, OutputLayer(self._described.architecture, stack.head))

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """See `Task.evaluate`: greedy acceptance of a chain, from every answer token on."""
        accepted = torch.zeros(_DEPTHS, device=self._device)
        num_anchors = torch.zeros((), device=self._device)
        for batch in self._held_out.parts(self._rows_at_once, self._device):
            view = self._frozen(batch)
            with mixed_precision(self._target):
                hidden, output = self._states(batch, view)
                is_right = torch.cat(
                    [
                        output(own).argmax(-1) == self._frozen.output(theirs).argmax(-1)
                        for own, theirs in zip(hidden.split(2), view.hidden.split(2), strict=True)
                    ]
                )
            valid = _valid_positions(batch)
            is_right &= valid
            chain, anchors = is_right, valid
            length = valid.shape[1]
            for depth in range(1, _DEPTHS):
                # Anchors near the end of an answer have no drafts to judge.
                anchors = anchors & F.pad(valid, (0, depth))[:, depth : depth + length]
            num_anchors += anchors.sum()
            for depth in range(_DEPTHS):
                if depth:
                    chain = chain & F.pad(is_right, (0, depth))[:, depth : depth + length]
                accepted[depth] += (chain & anchors).sum()
        return chain_figures(accepted, num_anchors)

    def save(self, folder: Path, figures: dict[str, float], step: int) -> None:
        """See `Task.save`: a folder in transformers' format, with the target's tokenizer."""
        from transformers import LlamaForCausalLM

        small: Any = LlamaForCausalLM(self._config)
        small.to(torch.bfloat16)
        small.load_state_dict(self.module.state_dict())
        small.save_pretrained(folder, max_shard_size=_SHARD_SIZE)
        read_transformers_tokenizer(self._target.source).save_pretrained(folder)
        give_usual_modes(folder.glob("*.safetensors"))
        description = {
            "target_sha256": model_key(self._target),
            "steps": step,
            "held_out": {name: round(value, 4) for name, value in figures.items()},
        }
        (folder / "training.json").write_text(dumps(description, indent=1) + "\n")


class _States(NamedTuple):
    normed: torch.Tensor  # [batch, length, hidden]
    output: OutputLayer


def _valid_positions(batch: PackedRows) -> torch.Tensor:
    """Where the next token is an answer's, of the same conversation  # [batch, length] bool."""
    same = batch.documents[:, 1:] == batch.documents[:, :-1]
    return F.pad(same & batch.loss_mask[:, 1:], (0, 1))


def _loss(
    hidden: torch.Tensor,  # [positions, hidden]
    target_hidden: torch.Tensor,  # [positions, target_hidden]
    output: OutputLayer,
    target_output: OutputLayer,
    weights: torch.Tensor,  # [positions]
) -> torch.Tensor:
    with torch.no_grad():
        probs = probs_of(target_output(target_hidden))
    return soft_loss(output(hidden), probs, weights)
