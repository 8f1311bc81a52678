"""A widened model computes what the narrow one does, and so do its drafters."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from core.benchmark.wide_shapes import WideShape, Width
from core.benchmark.widen import main
from core.benchmark.widening import widen, widen_block, widen_eagle, widen_llama
from core.config import RunConfig
from core.engine import Engine
from core.errors import InvalidSettingError
from core.loading.loading import load_model
from core.trace.file import Trace
from tests.block_drafters import block_drafter
from tests.core.conftest import run
from tests.core.models.test_fingerprint import write_manifest
from tests.eagle_heads import eagle3_head
from tests.tiny_folder import save_tiny_model
from tests.tiny_models import tiny_model

# The tiny model has 4 heads of 16, 3 layers, 2 of them with keys, and 64 hidden dimensions.
WIDE = Width(hidden=96, num_layers=6, num_heads=6, head_dim=32, intermediate=200)


@pytest.fixture
def narrow(tmp_path: Path) -> Path:
    return Path(save_tiny_model(tmp_path / "narrow"))


def engine(folder: Path) -> Engine:
    return Engine(load_model(str(folder), dtype="float32", compile=False))


def test_a_widened_model_gives_the_same_logits(narrow: Path, tmp_path: Path) -> None:
    widen_llama(narrow, tmp_path / "wide", WIDE, torch.float32)
    token_ids = torch.tensor([[1, 50, 3, 77, 9, 120, 4]])
    logits = [
        load_model(str(folder), dtype="float32", compile=False).module(token_ids).logits
        for folder in (narrow, tmp_path / "wide")
    ]
    assert logits[1].shape == logits[0].shape
    torch.testing.assert_close(logits[1], logits[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("mode", "make", "widen_drafter"),
    [("sd-eagle", eagle3_head, widen_eagle), ("sd-block", block_drafter, widen_block)],
)
def test_a_widened_drafter_drafts_the_same(
    mode: str,
    make: Callable[..., str],
    widen_drafter: Callable[..., None],
    narrow: Path,
    tmp_path: Path,
) -> None:
    sizes = widen_llama(narrow, tmp_path / "wide", WIDE, torch.float32)
    head = Path(make(tmp_path / "head", tiny_model("llama").config))
    widen_drafter(head, tmp_path / "wide head", sizes, WIDE, torch.float32)
    drafter = {"depth": 4, "branching": 2, "num_nodes": 12, "fixed_size": True}
    settings = {"mode": mode, "drafter": drafter}
    small = run(engine(narrow), draft=str(head), **settings)
    large = run(engine(tmp_path / "wide"), draft=str(tmp_path / "wide head"), **settings)
    assert large.token_ids == small.token_ids
    assert [step.token_ids for step in large.events if step.kind == "drafted"] == [
        step.token_ids for step in small.events if step.kind == "drafted"
    ]


def test_a_widened_model_is_another_than_the_narrow_one(narrow: Path, tmp_path: Path) -> None:
    write_manifest(narrow)
    widen_llama(narrow, tmp_path / "wide", WIDE, torch.float32)
    small, large = (
        load_model(str(folder), dtype="float32", compile=False)
        for folder in (narrow, tmp_path / "wide")
    )
    assert small.identity.sha256 is not None and large.identity.sha256 is None
    assert large.source_key != small.source_key


def test_a_shape_that_is_too_small_is_refused(narrow: Path, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingError, match="num_layers of the model is 3"):
        widen_llama(narrow, tmp_path / "wide", WIDE._replace(num_layers=2), torch.float32)
    with pytest.raises(InvalidSettingError, match="head size is a multiple"):
        widen_llama(narrow, tmp_path / "wide", WIDE._replace(head_dim=40), torch.float32)


def test_the_command_names_a_model_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--target", "no such", "--shape", "7b", "--out", "unused"]) == 2
    assert "no such" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.model
def test_the_default_model_and_its_drafters_are_widened(tmp_path: Path) -> None:
    """The same greedy ids, and the drafters as good as before."""
    shape = WideShape(Width(640, 31, 10, 128, 1600), Width(192, 4, 6, 64, 704))
    widen("smollm2-135m", shape, tmp_path, torch.float32)
    narrow, wide = engine(Path("smollm2-135m")), engine(tmp_path / "target")
    prompt = narrow.chat_prompt([{"role": "user", "content": "Name three rivers of Europe."}])

    def run_of(of: Engine, mode: str, draft: str | None) -> Trace:
        tree = {"depth": 4, "num_nodes": 4, "fixed_size": True}
        drafter = None if mode == "naive" else tree
        values = {"mode": mode, "draft": draft, "drafter": drafter, "max_new_tokens": 32}
        return Trace(list(of.run(prompt, RunConfig.from_dict(values))))

    for mode, name in (
        ("naive", None),
        ("sd-classic", "draft"),
        ("sd-eagle", "eagle"),
        ("sd-block", "block"),
    ):
        small = run_of(narrow, mode, None)
        large = run_of(wide, mode, None if name is None else str(tmp_path / name))
        assert large.token_ids == small.token_ids
        assert large.stats.num_accepted == small.stats.num_accepted
