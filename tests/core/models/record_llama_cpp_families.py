"""Writes llama_cpp_families.json: what llama.cpp chooses behind each token of a prompt, for each family.

Run it with a Python that has what the program has and llama-cpp-python 0.3.36:
python -m tests.core.models.record_llama_cpp_families
"""

import ctypes
import json
import tempfile
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np
import torch

from tests.core.models.folders import PROMPT
from tests.core.models.gguf_families import CASES, NOT_AS_LLAMA_CPP, RECORDED, random_module
from tests.core.models.gguf_models import write_model
from tests.tiny_folder import byte_tokenizer

# Its tables of activations and its rotation round more than float32 does: the two best of its tokens
# must be further apart than this share of all logits' spread, or either may be the best.
_LEAST_GAP = 0.05


@llama_cpp.llama_log_callback
def _say_nothing(*_: Any) -> None:
    """Kept here, for llama.cpp calls it as long as it lives."""


@torch.inference_mode()
def record(name: str, path: Path) -> list[int | None]:
    """The best token behind each of the prompt's, None where it has a rival."""
    module = random_module(name)
    ids = byte_tokenizer()(PROMPT).input_ids
    model = llama_cpp.Llama(
        write_model(path, module), n_ctx=256, n_batch=256, logits_all=True, verbose=False,
        n_threads=1, type_k=llama_cpp.GGML_TYPE_F32, type_v=llama_cpp.GGML_TYPE_F32,
        swa_full=True,
    )  # fmt: skip
    model.eval(ids)
    found = np.array(model.scores[: len(ids)])
    expected = module(torch.tensor([ids])).logits[0].numpy()
    error = np.linalg.norm(found - expected, axis=1) / np.linalg.norm(expected, axis=1)
    best = np.sort(found, axis=1)
    gaps = (best[:, -1] - best[:, -2]) / found.std(axis=1)
    chosen = [
        int(row.argmax()) if gap > _LEAST_GAP else None
        for row, gap in zip(found, gaps, strict=True)
    ]
    same = sum(a == b for a, b in zip(chosen, expected.argmax(1), strict=True))
    told = f"{same} of {sum(one is not None for one in chosen)} chosen as by transformers"
    print(f"{name}: largest relative difference {error.max():.1e}, {told}")
    return chosen


def main() -> None:
    """Makes the file anew."""
    llama_cpp.llama_log_set(_say_nothing, ctypes.c_void_p(0))
    with tempfile.TemporaryDirectory() as folder:
        result = {
            name: record(name, Path(folder) / f"{index}.gguf")
            for index, name in enumerate(CASES)
            if name not in NOT_AS_LLAMA_CPP
        }
    lines = ",\n".join(
        f"{json.dumps(name)}: {json.dumps(ids, separators=(',', ':'))}"
        for name, ids in result.items()
    )
    RECORDED.write_text(f"{{{lines}}}\n", "utf-8")


if __name__ == "__main__":
    main()
