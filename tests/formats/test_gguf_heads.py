"""EAGLE-3 heads that llama.cpp's converter wrote draft what the same heads in their folders draft.

`make_gguf_heads.py` made the files and says how.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gguf import GGMLQuantizationType, GGUFWriter

from core.drafters.eagle_loading import load_head
from core.engine import Engine
from core.errors import DrafterUnavailableError
from core.loading.forward import runner_of
from core.loading.loading import LoadedModel
from core.models.gguf_index import open_gguf
from core.trace.events import Drafted
from tests.formats.gguf_heads import FILES, SOURCES
from tests.formats.published import HEADS, TOLERANCE, recorded, trace_of

CHAIN = {"branching": 1, "depth": 4, "num_nodes": 4, "fixed_size": True}
PROMPT = recorded(HEADS / "safeailab-3").prompt
Parts = dict[str, Any]
Change = Callable[[Parts, Parts], Any]


def first_draft(engine: Engine, draft: Path) -> Drafted:
    """The first of a run, whose text is plain decoding's."""
    found = trace_of(engine, PROMPT, mode="sd-eagle", draft=str(draft), drafter=CHAIN)
    assert found.token_ids == trace_of(engine, PROMPT).token_ids
    return next(iter(found.of_kind(Drafted)))


@pytest.mark.parametrize("name", SOURCES)
def test_a_head_in_a_file_drafts_as_in_its_folder(
    name: str, engine: Engine, tmp_path: Path
) -> None:
    source = SOURCES[name]
    expected = first_draft(engine, source.written(tmp_path / "head"))
    found = first_draft(engine, FILES / f"{name}.gguf")
    assert len(found.token_ids) == 5
    if source.outtype == "q8_0":  # blocks of 8 bits, which are other numbers
        assert found.draft_probs[1] == pytest.approx(expected.draft_probs[1], abs=0.02)
        return
    assert found.token_ids == expected.token_ids
    assert found.draft_probs == pytest.approx(expected.draft_probs, abs=TOLERANCE)


def test_an_unchanged_head_drafts_what_its_authors_code_drafted(engine: Engine) -> None:
    expected = recorded(HEADS / "safeailab-3")
    found = first_draft(engine, FILES / "plain.gguf")
    assert found.token_ids[1:] == expected.drafted
    assert found.draft_probs[1:] == pytest.approx(expected.probs, abs=TOLERANCE)


def changed(path: Path, change: Change, architecture: str = "eagle3") -> Path:
    """A file with the head of plain.gguf, after a change of its values and its tensors."""
    file = open_gguf(FILES / "plain.gguf")
    values = {key: value for key, value in file.metadata.items() if key.startswith("eagle3.")}
    tensors = dict(file.tensors)
    change(values, tensors)
    writer = GGUFWriter(path, architecture)
    for key, value in values.items():
        if isinstance(value, bool):
            writer.add_bool(key, value)
        elif isinstance(value, float):
            writer.add_float32(key, value)
        elif isinstance(value, int):
            writer.add_uint32(key, value)
        else:
            writer.add_array(key, value)
    for name, tensor in tensors.items():
        if isinstance(tensor, np.ndarray):
            writer.add_tensor(name, tensor)
        else:
            kind = GGMLQuantizationType[tensor.type_name]
            writer.add_tensor(name, np.array(tensor.data), raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def value(key: str, told: Any) -> Change:
    return lambda values, tensors: values.update({f"eagle3.{key}": told})


def put(name: str, numbers: np.ndarray[Any, Any]) -> Change:
    return lambda values, tensors: tensors.update({name: numbers})


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (value("block_count", 2), "it has 2 layers, and llama.cpp computes one"),
        (value("target_layers", [2, 4, 9]), r"reads layers \[2, 4, 9\] and the target has 8"),
        (value("target_hidden_size", 64), "target_hidden_size 64"),
        (value("attention.sliding_window", 8), r"eagle3\.attention\.sliding_window is 8"),
        (value("logit_scale", 2.0), r"eagle3\.logit_scale is 2\.0"),
        (value("norm_before_fc", True), r"input_norm\.weight has nothing"),
        (value("norm_before_residual", 3), "norm_before_residual 3, which is neither true nor false"),
        (lambda values, tensors: values.pop("eagle3.target_layers"), r"not say eagle3\.target_layers"),
        (lambda values, tensors: tensors.pop("blk.0.attn_q.weight"), r"lacks blk\.0\.attn_q\.weight"),
        (lambda values, tensors: tensors.pop("d2t"), "64 outputs and no d2t"),
        (lambda values, tensors: tensors.pop("fc.weight"), r"fc\.weight has nothing"),
        (put("blk.0.attn_q_norm.weight", np.ones(8, np.float32)), r"blk\.0\.attn_q_norm\.weight, which"),
        (put("d2t", np.arange(64, dtype=np.int32)), "d2t is of the type I32 and not I64"),
        (put("d2t", np.full(64, 3, np.int64)), "d2t has two rows for one id"),
        (put("d2t", np.arange(64) + 150), "outside of the target's"),
    ],
)  # fmt: skip
def test_what_a_file_says_and_nobody_computes_is_refused_by_its_name(
    change: Change, told: str, target: LoadedModel, tmp_path: Path
) -> None:
    path = changed(tmp_path / "head.gguf", change)
    with pytest.raises(DrafterUnavailableError, match=told) as refused:
        load_head(path, target, runner_of(target).forward)
    assert "\n" not in str(refused.value)


def test_files_of_other_things_are_told_as_such(target: LoadedModel, tmp_path: Path) -> None:
    def load(path: Path) -> None:
        load_head(path, target, runner_of(target).forward)

    other = changed(tmp_path / "other.gguf", lambda values, tensors: None, "llama")
    with pytest.raises(DrafterUnavailableError, match="its architecture is llama"):
        load(other)
    broken = tmp_path / "broken.gguf"
    broken.write_bytes((FILES / "plain.gguf").read_bytes()[:3000])
    with pytest.raises(DrafterUnavailableError, match="cannot be read"):
        load(broken)


def test_a_name_that_is_no_file_and_no_folder_is_told_with_what_to_give(engine: Engine) -> None:
    with pytest.raises(DrafterUnavailableError, match=r"no folder or \.gguf file 'gone\.gguf'"):
        trace_of(engine, PROMPT, mode="sd-eagle", draft="gone.gguf")
