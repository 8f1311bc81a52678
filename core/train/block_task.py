"""A block drafter as something to train (DFlash, arXiv 2602.06036; DSpark, arXiv 2607.05147)."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F

from core.backends.torch.forward import RotaryTable
from core.backends.torch.linear import DenseLinear
from core.distributed.ranks import Rank
from core.drafters.block_description import BlockDescription, describe_block
from core.drafters.block_forward import BlockWeights
from core.drafters.block_module import BlockModule, BlockSizes, block_config
from core.errors import DrafterUnavailableError
from core.families.architecture import Architecture
from core.loading.fingerprint import model_key
from core.loading.loading import LoadedModel
from core.models.model_config import model_config_from
from core.train.block_rows import Blocks, block_states
from core.train.distillation import (
    MOST_HELD_OUT_ROWS,
    Dealer,
    FrozenTarget,
    TargetView,
    TrainingData,
    chain_figures,
    mixed_precision,
    probs_of,
)
from core.train.packing import PackedRows, frequent_ids
from core.train.trained import as_written, write_trained

# Of drafters for targets that have no base of their own.
_ROPE_THETA = 10_000.0
# Held-out rows and anchors of each that are judged at once.
_JUDGED_ROWS, _JUDGED_ANCHORS = 4, 256


class BlockTask:
    """Implements `core.train.loop.Task`."""

    def __init__(
        self,
        target: LoadedModel,
        data: TrainingData,
        state_layers: tuple[int, ...],
        options: argparse.Namespace,
        rank: Rank,
    ):
        """Raises InvalidSettingError for a target that our own forward cannot compute."""
        torch.manual_seed(options.seed)
        self.target = target
        self._rank, self._seed = rank, options.seed
        self._anchors: int = options.anchors
        self._frozen = FrozenTarget(target, state_layers)
        ids = data.conversations.token_ids.long()
        vocab_size = self._frozen.output.shape.vocab_size
        rarest = int(torch.bincount(ids, minlength=vocab_size)[:vocab_size].argmin())
        self._config = block_config(_sizes(target, state_layers, rarest, options))
        self._found = _described(self._config, self._frozen.output.shape.num_layers)
        self._ids = frequent_ids(
            data.conversations, data.in_train, options.draft_vocab, vocab_size
        ).to(rank.device)
        hidden = self._found.described.hidden_size
        self.module = BlockModule(self._found, vocab_size, hidden).to(rank.device)
        self.module.set_vocabulary(self._ids)
        output = self._frozen.output
        assert isinstance(output.head, DenseLinear), "the target's weights are dense"
        self._head = output.head.weight[self._ids]
        self._dealer = Dealer(data.train, options.rows, options.seed, rank)
        self._held_out = data.held_out.thinned(MOST_HELD_OUT_ROWS)
        rotations = model_config_from(self._found.described, frozenset()).rotations
        self._rotary = RotaryTable(rotations, target.dtype, rank.device)
        self._rotary.reserve(options.row_length + self._found.block_size)
        steps = torch.arange(self._found.block_size, device=rank.device)
        self._decay = torch.exp(-steps / options.gamma)
        self._distance_share: float = options.distance_share
        self._device = rank.device
        self._losses: Callable[..., torch.Tensor] = _losses
        if rank.device.type == "cuda":
            self._losses = torch.compile(_losses)

    @property
    def num_bytes(self) -> int:
        """Of the written weights."""
        return sum(tensor.nbytes for tensor in as_written(self.module.state_dict()).values())

    def loss(self, step: int) -> torch.Tensor:
        """See `Task.loss`."""
        batch = self._dealer.batch(step)
        view = self._frozen(batch)
        with torch.no_grad():
            generator = torch.Generator(self._device)
            generator.manual_seed(
                (self._seed * 1_000_003 + step) * self._rank.num_ranks + self._rank.number
            )
            anchors, is_chosen = _chosen_anchors(batch, self._anchors, generator)
            places = self._places(batch, anchors)
            probs = [
                probs_of(self._frozen.output(part), self._ids) for part in view.hidden.split(4)
            ]
            given = _Given(
                self._blocks(batch, view, anchors),
                places.token_ids,
                _of_rows(torch.cat(probs), places.columns),
                (places.is_wanted & is_chosen[..., None]) * self._decay,
            )
        with mixed_precision(self.target):
            weights = self.module.weights(self._frozen.stack.embedding, self._head)
            shape = self._found.described.architecture
            return self._losses(shape, weights, given, self._distance_share)

    def _places(self, batch: PackedRows, anchors: torch.Tensor) -> "_Places":
        """Where the rows of blocks stand in the text; behind the end of a row, at its last token.

        A draft counts as long as all up to it are an answer's, in the anchor's conversation.
        """
        length, size = batch.token_ids.shape[1], self._found.block_size
        columns = anchors[..., None] + torch.arange(size + 1, device=anchors.device)
        is_inside, columns = columns < length, columns.clamp(max=length - 1)
        documents = _of_rows(batch.documents, columns)
        wanted = _of_rows(batch.loss_mask, columns) & (documents == documents[..., :1]) & is_inside
        is_wanted = wanted[..., 1:].long().cumprod(-1).bool() & (documents[..., :1] > 0)
        token_ids = _of_rows(batch.token_ids, columns).long()
        return _Places(columns[..., :-1], token_ids[..., :-1], is_wanted)

    def _blocks(self, batch: PackedRows, view: TargetView, anchors: torch.Tensor) -> Blocks:
        length, size = batch.token_ids.shape[1], self._found.block_size
        columns = torch.arange(length, device=anchors.device)
        documents = _of_rows(batch.documents, anchors)
        seen = (documents[..., None] == batch.documents[:, None]) & (columns < anchors[..., None])
        mask = torch.zeros(seen.shape, dtype=self.target.dtype, device=seen.device)
        mask.masked_fill_(~seen, torch.finfo(mask.dtype).min)
        positions = view.text.positions
        own = _of_rows(positions.view(batch.token_ids.shape), anchors)[..., None]
        own_positions = (own + torch.arange(size, device=own.device)).flatten()
        token_ids = torch.full((*anchors.shape, size), self._found.mask_token_id).to(own.device)
        token_ids[..., 0] = _of_rows(batch.token_ids, anchors)
        return Blocks(
            view.features,
            positions,
            self._rotary.at(positions),
            mask,
            token_ids.flatten(),
            own_positions,
            self._rotary.at(own_positions),
        )

    @torch.no_grad()
    def evaluate(self) -> dict[str, float]:
        """See `Task.evaluate`: greedy acceptance of a chain, from every answer token on."""
        size = self._found.block_size
        accepted = torch.zeros(size, device=self._device)
        num_anchors = torch.zeros((), device=self._device)
        overlap = torch.zeros((), device=self._device)
        for batch in self._held_out.parts(_JUDGED_ROWS, self._device):
            view = self._frozen(batch)
            logits = self._frozen.output(view.hidden)
            best, probs = logits.argmax(-1), probs_of(logits, self._ids)
            rows, length = batch.token_ids.shape
            for some in torch.arange(length, device=self._device).split(_JUDGED_ANCHORS):
                anchors = some.expand(rows, -1)
                places = self._places(batch, anchors)
                drafted, first = self.drafted(batch, view, anchors)
                # Anchors near the end of an answer have no drafts to judge.
                is_valid = places.is_wanted[..., -1]
                right = drafted == _of_rows(best, places.columns)
                right = right.long().cumprod(-1).bool() & is_valid[..., None]
                accepted += right.sum((0, 1))
                num_anchors += is_valid.sum()
                own = first.softmax(-1).view(*anchors.shape, -1)
                both = torch.minimum(_of_rows(probs, anchors).float(), own).sum(-1)
                overlap += (both * is_valid).sum()
        figures = chain_figures(accepted, num_anchors)
        figures["overlap"] = float(overlap / num_anchors.clamp(min=1))
        return figures

    def drafted(
        self,
        batch: PackedRows,
        view: TargetView,
        anchors: torch.Tensor,  # [batch, anchors]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What is drafted greedily from left to right behind tokens, and the logits of the first.

        Returns [batch, anchors, block_size] ids of the target and [batch * anchors, draft_vocab].
        """
        blocks = self._blocks(batch, view, anchors)
        with mixed_precision(self.target):
            weights = self.module.weights(self._frozen.stack.embedding, self._head)
            shape, size = self._found.described.architecture, self._found.block_size
            states = block_states(shape, weights, blocks)
            states, logits = (
                part.unflatten(0, (-1, size)) for part in (states, weights.stack.head(states))
            )
            markov, before = weights.markov, _of_rows(batch.token_ids, anchors).flatten().long()
            memory = None if markov is None else markov.begin(len(states))
            drafted, all_logits = [], []
            for step in range(size):
                found = logits[:, step].float()
                if markov is not None and memory is not None:
                    made, memory = markov.step(markov.rows(before), states[:, step], memory)
                    found = found + markov.output(made).float()
                before = self._ids[found.argmax(-1)]
                drafted.append(before)
                all_logits.append(found)
        return torch.stack(drafted, dim=-1).view(*anchors.shape, size), all_logits[0]

    def save(self, folder: Path, figures: dict[str, float], step: int) -> None:
        """See `Task.save`: bf16 safetensors in the published names, and a description."""
        described = {**self._config, "target_sha256": model_key(self.target)}
        write_trained(self.module.state_dict(), folder, described, figures, step)


class _Places(NamedTuple):
    columns: torch.Tensor  # [batch, anchors, block_size]
    """Where each row's token stands; it drafts the one behind."""
    token_ids: torch.Tensor  # [batch, anchors, block_size]
    """The text there: what stands before each drafted token."""
    is_wanted: torch.Tensor  # [batch, anchors, block_size] bool
    """Whether the token that the row drafts is judged."""


class _Given(NamedTuple):
    """What a loss takes beside the drafter."""

    blocks: Blocks
    tokens_before: torch.Tensor  # [batch, anchors, block_size]
    probs: torch.Tensor  # [batch, anchors, block_size, draft_vocab]
    weights: torch.Tensor  # [batch, anchors, block_size]


def _sizes(
    target: LoadedModel, state_layers: tuple[int, ...], mask_token_id: int,
    options: argparse.Namespace,
) -> BlockSizes:  # fmt: skip
    """The target's own heads and width, in layers of Qwen3's form."""
    assert target.model_config is not None, "our own forward computes it"
    described = target.model_config.described
    shape, rotation = described.architecture, described.rotations[0].settings or {}
    return BlockSizes(
        hidden_size=described.hidden_size,
        intermediate_size=options.width or described.inner_size,
        num_layers=options.num_layers,
        num_heads=shape.num_heads,
        num_kv_heads=shape.num_kv_heads,
        head_dim=shape.head_dim,
        vocab_size=shape.vocab_size,
        norm_eps=shape.norm_eps,
        rope_theta=float(rotation.get("rope_theta", _ROPE_THETA)),
        context_length=described.context_length,
        num_target_layers=shape.num_layers,
        state_layers=state_layers,
        block_size=options.block_size,
        mask_token_id=mask_token_id,
        draft_vocab_size=options.draft_vocab,
        markov_kind=options.markov_head,
        markov_rank=options.markov_rank,
    )


def _described(config: dict[str, Any], num_target_layers: int) -> BlockDescription:
    """As the loader reads what will be written."""
    return describe_block(config, num_target_layers, DrafterUnavailableError)


def _of_rows(
    values: torch.Tensor,  # [batch, length, ...]
    columns: torch.Tensor,  # [batch, ...]
) -> torch.Tensor:
    """Values of each row at some of its columns."""
    rows = torch.arange(len(values), device=values.device)
    return values[rows.view(-1, *[1] * (columns.dim() - 1)), columns]


def _chosen_anchors(
    batch: PackedRows, count: int, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tokens with an answer's token of their conversation behind, drawn without replacement, and which
    of them are any  # [batch, count] both."""
    same = batch.documents[:, 1:] == batch.documents[:, :-1]
    can_be = F.pad(same & batch.loss_mask[:, 1:] & (batch.documents[:, 1:] > 0), (0, 1))
    drawn = torch.rand(can_be.shape, generator=generator, device=can_be.device)
    best = torch.where(can_be, drawn, -1.0).topk(count, dim=1)
    return best.indices, best.values >= 0.0


def _losses(
    shape: Architecture, weights: BlockWeights, given: _Given, distance_share: float
) -> torch.Tensor:
    """Cross-entropy and L1 distance to the target's probabilities, and the confidence's cross-entropy
    to the share of the probability that both have in common (DSpark)."""
    size = given.probs.shape[2]
    states = block_states(shape, weights, given.blocks)
    logits = weights.stack.head(states).float()
    table_rows = None
    if weights.markov is not None:
        table_rows = weights.markov.rows(given.tokens_before.flatten())
        made = _markov_rows(weights, states, table_rows, size)
        logits = logits + weights.markov.output(made).float()
    log_probs = logits.log_softmax(-1)
    wanted = given.probs.flatten(0, 2).float()
    entropy = -(wanted * log_probs).sum(-1)
    # What the target gives to other ids is a distance as well.
    distance = (wanted - log_probs.exp()).abs().sum(-1) + (1.0 - wanted.sum(-1)).clamp(min=0.0)
    losses = (1.0 - distance_share) * entropy + distance_share * distance
    if weights.confidence is not None:
        told = weights.confidence.logits(states, table_rows).float()
        common = (1.0 - 0.5 * distance.detach()).clamp(0.0, 1.0)
        losses = losses + F.binary_cross_entropy_with_logits(told, common, reduction="none")
    counted = given.weights.flatten()
    return (losses * counted).sum() / counted.sum().clamp(min=1.0)


def _markov_rows(
    weights: BlockWeights, states: torch.Tensor, table_rows: torch.Tensor, size: int
) -> torch.Tensor:
    """What the Markov head's output layer reads of every row  # [blocks * block_size, rank]."""
    markov = weights.markov
    assert markov is not None
    rows, own = (part.unflatten(0, (-1, size)) for part in (table_rows, states))
    memory, made = markov.begin(len(own)), []
    for step in range(size):
        found, memory = markov.step(rows[:, step], own[:, step], memory)
        made.append(found)
    return torch.stack(made, dim=1).flatten(0, 1)
