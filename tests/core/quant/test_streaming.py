"""Layers that come to the device when they are iterated over, here without a device."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from core.backends.torch.forward import TorchForward
from core.backends.torch.linear import DenseLinear
from core.config import RunConfig
from core.errors import InvalidSettingError
from core.loading.forward import runner_of
from core.loading.loading import load_model
from core.quant.stack import quantized_stack
from core.quant.streaming import StreamedLayers, streamed
from core.settings import parse_bytes
from core.trees.tree import DraftTree

CPU = torch.device("cpu")
PROMPT = [1, 50, 3, 77, 9, 120, 4]


def logits_of(runner) -> torch.Tensor:  # type: ignore[no-untyped-def]
    runner.begin(PROMPT, 64, bool)
    return runner.tree_forward(DraftTree(PROMPT[-1])).clone()


@pytest.mark.parametrize("num_resident", [0, 1, 2, 3])
def test_streamed_layers_compute_the_same(tiny_home: Path, num_resident: int) -> None:
    model = load_model(str(tiny_home / "target"), dtype="float32", compile=False)
    expected = logits_of(runner_of(model))
    assert model.stack is not None
    stack = streamed(model.stack, CPU)
    assert isinstance(stack.layers, StreamedLayers)
    stack.layers.set_resident(num_resident)
    runner = runner_of(replace(model, stack=stack))
    for _ in range(3):
        runner.forget()
        assert torch.equal(logits_of(runner), expected)
    assert isinstance(runner.forward, TorchForward) and not runner.forward.is_static


def test_memory_is_that_of_three_layers_and_the_residents(tiny_home: Path) -> None:
    model = load_model(str(tiny_home / "target"), dtype="float32", compile=False)
    assert model.stack is not None
    stack = streamed(model.stack, CPU)
    layers = stack.layers
    assert isinstance(layers, StreamedLayers)
    assert stack.num_bytes == 3 * layers.layer_bytes + stack.head.num_bytes
    layers.set_resident(2)
    assert stack.num_bytes == 5 * layers.layer_bytes + stack.head.num_bytes
    layers.set_resident(99)
    assert layers.num_resident == len(layers)


def test_streamed_layers_are_quantized_as_others_are(tiny_home: Path) -> None:
    model = load_model(str(tiny_home / "target"), dtype="float32", compile=False)
    assert model.stack is not None
    settings = {"bits": 4, "group_size": 32}
    expected = quantized_stack(model.stack, **settings)  # type: ignore[arg-type]
    found = quantized_stack(streamed(model.stack, CPU), **settings)  # type: ignore[arg-type]
    for dense, one, other in zip(
        model.stack.linears(), expected.linears(), found.linears(), strict=True
    ):
        assert isinstance(dense, DenseLinear)
        rows = torch.randn(3, dense.weight.shape[1])
        assert torch.equal(one(rows), other(rows))


@pytest.mark.parametrize(
    ("text", "size"), [("6GiB", 6 * 2**30), ("500 MB", 500 * 10**6), ("1e9", 10**9), ("2kib", 2048)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GiB", "-3GB", "nan", "many", "1e400"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(InvalidSettingError, match="give one such as 6GiB"):
        parse_bytes(text)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"device": "cpu"}, "for device cuda"),
        ({"device": "cuda", "mode": "layer-skip"}, "layer-skip"),
        ({"device": "cuda", "mode": "share-sd", "drafter": {"keep": ["0"]}}, "keep"),
        ({"device": "cuda", "mode": "share-sd", "drafter": {"bits": 16}}, "bits is 16"),
    ],
)
def test_what_does_not_go_together_is_refused(values: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidSettingError, match=words):
        RunConfig.from_dict({"gpu_memory": "6GiB", **values})
