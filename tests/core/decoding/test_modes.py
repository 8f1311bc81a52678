"""Every mode on a tiny random model: the text of plain decoding, id for id."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from core.engine import Engine
from core.loading.loading import load_model
from core.trace.events import RunFinished, RunStarted
from core.trace.file import Trace
from tests.core.conftest import run

EngineOf = Callable[..., Engine]

CHAIN = {"fixed_size": True, "depth": 4, "branching": 1}
TREE = {"fixed_size": True, "depth": 4, "branching": 3, "num_nodes": 20}
MODES: dict[str, dict[str, Any]] = {
    "ngram": {},
    "sd-classic": {},
    "sd-eagle": {},
    "sd-block": {},
    "sd-medusa": {},
    "share-sd": {"bits": 4, "group_size": 32},
    "layer-skip": {"layers": ["0", "2"]},
    "hybrid": {"bits": 3, "group_size": 32, "min_match": 1},
}
DRAFTS = {"sd-classic": "draft", "sd-eagle": "head", "sd-block": "block", "sd-medusa": "heads"}
GREEDY = {"do_sample": False}
SAMPLED = {"do_sample": True, "temperature": 0.8, "top_k": 50, "top_p": 0.95, "seed": 5}
# Two of the four in every run of the tests, and each of what they vary.
in_two_shapes = pytest.mark.parametrize(
    ("shape", "sampling"),
    [
        pytest.param(CHAIN, GREEDY, id="chain-greedy"),
        pytest.param(TREE, SAMPLED, id="tree-sampled"),
        pytest.param(CHAIN, SAMPLED, id="chain-sampled", marks=pytest.mark.slow),
        pytest.param(TREE, GREEDY, id="tree-greedy", marks=pytest.mark.slow),
    ],
)


def mode_settings(mode: str, shape: dict[str, Any], home: Path) -> dict[str, Any]:
    draft = str(home / DRAFTS[mode]) if mode in DRAFTS else None
    return {"mode": mode, "draft": draft, "drafter": {**MODES[mode], **shape}}


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("shape", [CHAIN, TREE], ids=["chain", "tree"])
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gives_the_text_of_plain_decoding(
    mode: str, shape: dict[str, Any], sampling: dict[str, Any], engine_of: EngineOf, tiny_home: Path
) -> None:
    engine = engine_of()
    plain = run(engine, sampling=sampling)
    drafted = run(engine, sampling=sampling, **mode_settings(mode, shape, tiny_home))
    assert drafted.token_ids == plain.token_ids
    assert drafted.stats.num_drafted > 0
    if mode in ("share-sd", "hybrid"):
        assert drafted.stats.num_accepted > 0, "else acceptance was never at work"


@pytest.mark.parametrize("mode", MODES)
def test_sizes_by_measured_cost_give_the_same_text(
    mode: str, engine_of: EngineOf, tiny_home: Path
) -> None:
    engine = engine_of()
    sized = mode_settings(mode, {"depth": 4, "branching": 2}, tiny_home)
    assert run(engine, **sized).token_ids == run(engine).token_ids


def self_drafts(engine: Engine) -> list[dict[str, Any]]:
    """Settings under which the drafter is the target itself."""
    return [
        {"mode": "share-sd", "drafter": {"bits": 16}},
        {"mode": "sd-classic", "draft": engine.target.identity.name},
    ]


@pytest.mark.parametrize("shape", [CHAIN, TREE], ids=["chain", "tree"])
@pytest.mark.parametrize("which", [0, 1], ids=["share-sd", "sd-classic"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_drafter_that_is_the_target_is_always_right(
    dtype: str, which: int, shape: dict[str, Any], engine_of: EngineOf
) -> None:
    """In bf16 by shape-invariant execution alone."""
    engine = engine_of(dtype)
    settings = self_drafts(engine)[which]
    drafter = {**settings.get("drafter", {}), **shape}
    invariant = dtype == "bfloat16"
    trace = run(engine, **{**settings, "drafter": drafter, "invariant": invariant})
    assert trace.stats.acceptance_rate == 1.0
    assert trace.stats.num_accepted > 20
    assert trace.token_ids == run(engine, invariant=invariant).token_ids


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_agrees_in_bf16_by_shape_invariant_execution(
    mode: str, engine_of: EngineOf, tiny_home: Path
) -> None:
    engine = engine_of("bfloat16")
    plain = run(engine, invariant=True)
    drafted = run(engine, invariant=True, **mode_settings(mode, TREE, tiny_home))
    assert drafted.token_ids == plain.token_ids
    assert drafted.stats.num_drafted > 0


def draft_of(trace: Trace) -> dict[str, Any]:
    started = trace.first(RunStarted)
    assert started is not None and started.draft is not None
    return started.draft


def test_the_trace_says_what_drafts_and_what_memory_it_takes(
    engine_of: EngineOf, tiny_home: Path
) -> None:
    engine = engine_of("bfloat16")
    four = draft_of(run(engine, **mode_settings("share-sd", CHAIN, tiny_home)))
    assert four["kernel"] == "torch int4, torch int4, two planes"  # the head has 8 bits
    eight = draft_of(run(engine, mode="share-sd", drafter={"bits": 8, "group_size": 32, **CHAIN}))
    assert eight["kernel"] == "torch int4, two planes"
    assert four["num_bytes"] < eight["num_bytes"]
    skipped = draft_of(run(engine, **mode_settings("layer-skip", CHAIN, tiny_home)))
    assert skipped["layers"] == [0, 2]
    assert "times the speed of plain decoding" in skipped["note"]
    classic = draft_of(run(engine, **mode_settings("sd-classic", CHAIN, tiny_home)))
    assert classic["num_bytes"] == 2 * classic["num_parameters"]


def test_quantized_weights_and_draft_models_are_kept_until_others_take_their_place(
    engine_of: EngineOf, tiny_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    from core.drafters import share_sd

    original = share_sd.quantized_stack

    def counted(*args: Any, **kwargs: Any) -> Any:
        made.append(kwargs["bits"])
        return original(*args, **kwargs)

    monkeypatch.setattr(share_sd, "quantized_stack", counted)
    engine = engine_of("float32")
    for bits in (2, 2, 4, 4, 2):
        run(
            engine, mode="share-sd", drafter={"bits": bits, "group_size": 32, **CHAIN},
            max_new_tokens=2,
        )  # fmt: skip
    assert made[-3:] == [2, 4, 2]
    assert len(made) == 3


def test_rejection_sampling_with_model_drafters_runs_to_the_end(
    engine_of: EngineOf, tiny_home: Path
) -> None:
    engine = engine_of()
    for mode in ("sd-classic", "sd-eagle", "share-sd", "layer-skip", "hybrid"):
        for shape in (CHAIN, TREE):
            settings = mode_settings(mode, shape, tiny_home)
            trace = run(engine, accept="rejection", sampling=SAMPLED, **settings)
            finished = trace.first(RunFinished)
            assert finished is not None and finished.reason in ("length", "eos")
            assert trace.stats.num_accepted > 0


def test_a_draft_model_with_a_shorter_context_stops_drafting_there(
    tiny_home: Path, tmp_path: Path
) -> None:
    engine = Engine(load_model(str(tiny_home / "target"), dtype="float32", compile=False))
    plain = run(engine)
    shutil.copytree(tiny_home / "draft", tmp_path / "draft")
    config = json.loads((tmp_path / "draft" / "config.json").read_text("utf-8"))
    config["max_position_embeddings"] = 64 + 12
    (tmp_path / "draft" / "config.json").write_text(json.dumps(config), "utf-8")
    settings = {**mode_settings("sd-classic", CHAIN, tiny_home), "draft": str(tmp_path / "draft")}
    trace = run(engine, **settings)
    assert trace.token_ids == plain.token_ids
