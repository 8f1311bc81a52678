"""Packed rows against the eager forward of every family, and an unrolled head against one by hand."""

from pathlib import Path
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F

from core.backends.torch.arithmetic import bounded_logits
from core.backends.torch.forward import RotaryTable
from core.backends.torch.linear import DenseLinear
from core.drafters.eagle_head import EagleHead, HeadShape
from core.families.architecture import default_rotation
from core.loading.forward import runner_of
from core.loading.loading import LoadedModel, load_model
from core.train.distillation import FrozenTarget
from core.train.eagle_unroll import unroll
from core.train.packing import PackedRows
from tests.core.families.family_configs import CONFIGS, WINDOW, random_module
from tests.core.models.folders import save_module

# Three windows, then two documents and padding in one row.
LENGTHS = ((3 * WINDOW,), (WINDOW + 5, 7))
LENGTH = 3 * WINDOW
# Other orders of summation change float32 by a few millionths.
TOLERANCE = 3e-5


def packed_rows(vocab_size: int) -> PackedRows:
    torch.manual_seed(2)
    documents = torch.zeros(len(LENGTHS), LENGTH, dtype=torch.int32)
    for row, lengths in zip(documents, LENGTHS, strict=True):
        start = 0
        for number, length in enumerate(lengths, 1):
            row[start : start + length] = number
            start += length
    token_ids = torch.randint(0, vocab_size, documents.shape, dtype=torch.int32)
    return PackedRows(token_ids, documents, documents > 0)


class Alone(NamedTuple):
    states: torch.Tensor  # [length, num_kept * hidden]
    logits: torch.Tensor  # [length, vocab]


def alone(model: LoadedModel, token_ids: list[int], keep: tuple[int, ...]) -> Alone:
    """The eager forward of one text."""
    runner = runner_of(model)
    assert model.model_config is not None
    runner.keep_hidden_states(keep, model.model_config.described.hidden_size)
    runner.reserve(LENGTH)
    count = len(token_ids)
    causal = torch.ones(count, count, dtype=torch.bool).tril()
    found = runner.forward_rows(token_ids, range(count), causal)
    states = runner.cache.hidden_states
    assert found is not None and states is not None
    return Alone(states.rows[:count], found)


def check_close(got: torch.Tensor, expected: torch.Tensor) -> None:
    got, expected = got.detach(), expected.detach()
    assert float((got - expected).norm() / expected.norm()) < TOLERANCE


@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_packed_texts_are_computed_as_each_of_them_alone(name: str, tmp_path: Path) -> None:
    model = load_model(save_module(tmp_path, random_module(name)), dtype="float32", compile=False)
    batch = packed_rows(192)
    keep = (0, 1, CONFIGS[name].num_hidden_layers)
    frozen = FrozenTarget(model, keep)
    view = frozen(batch)
    found = frozen.output(view.hidden)
    for row, lengths in enumerate(LENGTHS):
        start = 0
        for length in lengths:
            here = slice(start, start + length)
            expected = alone(model, batch.token_ids[row, here].tolist(), keep)
            check_close(view.features[row, here], expected.states)
            check_close(found[row, here], expected.logits)
            start += length


SHAPE = HeadShape(
    hidden_size=16, num_heads=4, num_kv_heads=2, head_dim=8, intermediate_size=24,
    draft_vocab_size=11, vocab_size=20, num_features=2, norm_eps=1e-3, rope_theta=50.0,
)  # fmt: skip
DEPTH = 3


def random_head() -> EagleHead:
    torch.manual_seed(3)
    head = EagleHead(SHAPE)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return head


def rotated(heads: torch.Tensor, position: int) -> torch.Tensor:
    """By pairs of numbers as complex ones, half a head apart  # [heads, head_dim]."""
    half = SHAPE.head_dim // 2
    angles = position * SHAPE.rope_theta ** (-torch.arange(half) / half)
    turned = torch.complex(heads[:, :half], heads[:, half:]) * torch.polar(torch.ones(half), angles)
    return torch.cat([turned.real, turned.imag], dim=-1)


def by_hand(
    head: EagleHead,
    embedding: torch.Tensor,  # [vocab, hidden]
    token_ids: list[int],
    features: torch.Tensor,  # [length, num_features * hidden]
    anchor: int,
) -> list[torch.Tensor]:
    """Logits of each depth, drafting behind one position with the text's own tokens."""

    def norm(x: torch.Tensor, module: torch.nn.Module) -> torch.Tensor:
        mean = x.pow(2).mean()
        return x / (mean + SHAPE.norm_eps).sqrt() * module.weight  # type: ignore[operator]

    layer, attention, mlp = head.midlayer, head.midlayer.self_attn, head.midlayer.mlp
    keys: list[torch.Tensor] = []
    values: list[torch.Tensor] = []

    def computed(state: torch.Tensor, token_id: int, position: int) -> torch.Tensor:
        token = norm(embedding[token_id], layer.input_layernorm)
        both = torch.cat([token, norm(state, layer.hidden_norm)])
        queries = rotated(attention.q_proj(both).view(4, 8), position)
        keys.append(rotated(attention.k_proj(both).view(2, 8), position))
        values.append(attention.v_proj(both).view(2, 8))
        read = []
        for index, query in enumerate(queries):
            scores = torch.stack([key[index // 2] @ query for key in keys]) / SHAPE.head_dim**0.5
            mine = torch.stack([value[index // 2] for value in values])
            read.append(scores.softmax(0) @ mine)
        x = state + attention.o_proj(torch.cat(read))
        normed = norm(x, layer.post_attention_layernorm)
        fed: torch.Tensor = x + mlp.down_proj(F.silu(mlp.gate_proj(normed)) * mlp.up_proj(normed))
        return fed

    for position in range(anchor):
        computed(head.fc(features[position]), token_ids[position + 1], position)
    state, found = head.fc(features[anchor]), []
    for step in range(DEPTH):
        state = computed(state, token_ids[anchor + step + 1], anchor + step)
        found.append(head.lm_head(norm(state, head.norm)))
    return found


def test_an_unrolled_head_has_the_logits_and_gradients_of_drafting_from_every_position() -> None:
    head, length = random_head(), 5
    embedding = torch.randn(SHAPE.vocab_size, SHAPE.hidden_size)
    token_ids = torch.randint(0, SHAPE.vocab_size, (length + DEPTH + 1,)).tolist()
    features = torch.randn(length, SHAPE.num_features * SHAPE.hidden_size)
    weights = torch.randn(DEPTH, length, SHAPE.draft_vocab_size)

    one_by_one = [by_hand(head, embedding, token_ids, features, at) for at in range(length)]
    expected = torch.stack([torch.stack(steps) for steps in one_by_one], dim=1)
    (expected * weights).sum().backward()
    gradients = {name: parameter.grad for name, parameter in head.named_parameters()}
    head.zero_grad()

    rotary = RotaryTable(
        [default_rotation(SHAPE.head_dim, SHAPE.rope_theta)], torch.float32, torch.device("cpu")
    )
    rotary.reserve(length + DEPTH)
    positions = torch.arange(length)
    mask = torch.full((length, length), torch.finfo(torch.float32).min).triu(1)[None, None]
    shape, own = SHAPE.architecture, head.weights(DenseLinear(embedding), ())
    rows = unroll(
        shape, own, torch.tensor([token_ids[1:]]), features[None], positions,
        [rotary.at(positions + step) for step in range(DEPTH)], mask,
    )  # fmt: skip
    found = torch.stack([bounded_logits(shape, own.stack.head(made.normed)) for made in rows])
    check_close(found, expected)
    (found * weights).sum().backward()
    for name, parameter in head.named_parameters():
        assert parameter.grad is not None and gradients[name] is not None, name
        check_close(parameter.grad, gradients[name])
