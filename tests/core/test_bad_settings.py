"""Bad settings get one sentence, and the engine stays usable."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from core.engine import Engine
from core.errors import DrafterUnavailableError, InvalidSettingError, SpecDecodesError
from core.loading.loading import load_model
from tests.core.conftest import run

EngineOf = Callable[..., Engine]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"mode": "share-sd", "drafter": {"bits": 5}}, "bits is 5; give one of 2, 3, 4, 8, 16"),
        (
            {"mode": "share-sd", "drafter": {"group_size": 48}},
            "group_size is 48; give one of 32, 64, 128",
        ),
        (
            {"mode": "share-sd", "drafter": {"group_size": 64}},
            "group_size is 64 and does not divide the 96 inputs of layers.0.down; give 32",
        ),
        (
            {"mode": "share-sd", "drafter": {"group_size": 32, "keep": ["layers.0.up"]}},
            "no layer is named 'layers.0.up'; give a layer number from 0 to 2, head",
        ),
        (
            {"mode": "share-sd", "drafter": {"group_size": 32, "keep": ["7"]}},
            "no layer is named '7'",
        ),
        ({"mode": "layer-skip", "drafter": {"layers": ["0-5"]}}, "has the layers 0 to 2"),
        ({"mode": "layer-skip", "drafter": {"layers": ["2-0"]}}, "has the layers 0 to 2"),
        ({"mode": "layer-skip", "drafter": {"layers": ["first"]}}, "layers has 'first'; give"),
        ({"mode": "layer-skip", "drafter": {"num_layers": 9}}, "num_layers is 9"),
        ({"mode": "share-sd", "drafter": {"num_nodes": 300}}, "give a value from 1 to 256"),
        ({"mode": "share-sd", "drafter": {"bits": 16, "offload": True}}, "bits is 16"),
        (
            {"mode": "share-sd", "drafter": {"offload": True}, "invariant": True},
            "invariant and offload exclude each other",
        ),
        ({"mode": "sd-classic"}, "mode sd-classic needs a draft model; give --draft"),
        ({"mode": "sd-classic", "draft": "no-such-model"}, "there is no model named"),
        (
            {"mode": "sd-classic", "draft": "{home}/shifted"},
            "its tokens are not the bytes of a text",
        ),
    ],
)
def test_a_bad_setting_gets_one_sentence_and_the_engine_goes_on(
    settings: dict[str, Any], sentence: str, engine_of: EngineOf, tiny_home: Path
) -> None:
    engine = engine_of()
    draft = settings.get("draft")
    if draft is not None:
        settings = {**settings, "draft": draft.format(home=tiny_home)}
    with pytest.raises(SpecDecodesError) as caught:
        run(engine, **settings)
    message = str(caught.value)
    assert sentence in message
    assert "\n" not in message and message.endswith(".")
    assert len(run(engine, max_new_tokens=3).token_ids) == 3


@pytest.mark.parametrize("mode", ["share-sd", "layer-skip", "hybrid"])
def test_a_target_that_only_transformers_computes_is_told_which_modes_it_lacks(
    mode: str, engine_of: EngineOf, tiny_home: Path
) -> None:
    engine = engine_of("float32", "codegen")
    reason = engine.unavailable_reason(mode)
    assert reason is not None
    assert "codegen is not one of arcee, cohere," in reason
    assert engine.unavailable_reason("sd-classic") is None
    assert engine.unavailable_reason("hybrid", draft="some-model") is None
    plain = run(engine)
    drafter = {"fixed_size": True, "depth": 3}
    draft = str(tiny_home / "target")
    assert run(engine, mode="sd-classic", draft=draft, drafter=drafter).token_ids == plain.token_ids


@pytest.mark.parametrize("mode", ["share-sd", "hybrid"])
def test_a_packed_target_is_not_quantized_once_more(mode: str, tiny_home: Path) -> None:
    engine = Engine(load_model(str(tiny_home / "target"), weights="q8", compile=False))
    with pytest.raises(
        InvalidSettingError,
        match=r"with weights q8 this target's are whole numbers already; give weights full",
    ):
        run(engine, mode=mode)
    assert engine.unavailable_reason("layer-skip") is None


def test_settings_of_the_quantized_self_are_refused_beside_another_model(
    engine_of: EngineOf, tiny_home: Path
) -> None:
    with pytest.raises(InvalidSettingError, match=r"bits is a setting .* give draft self"):
        run(engine_of(), mode="hybrid", draft=str(tiny_home / "draft"), drafter={"bits": 3})


@pytest.mark.parametrize(
    "error",
    [MemoryError(), RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate")],
)
def test_weights_that_do_not_fit_leave_the_engine_usable(
    error: Exception, tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = Engine(load_model(str(tiny_home / "target"), dtype="float32", compile=False))

    def too_large(*args: object, **kwargs: object) -> torch.Tensor:
        raise error

    settings = {"mode": "share-sd", "drafter": {"bits": 4, "group_size": 32, "keep": ["head"]}}
    with monkeypatch.context() as patch:
        patch.setattr("core.quant.store.quantize", too_large)
        with pytest.raises(DrafterUnavailableError, match="does not fit into memory"):
            run(engine, **settings)
    assert run(engine, **settings).token_ids == run(engine).token_ids
