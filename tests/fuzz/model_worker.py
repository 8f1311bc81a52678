"""Tries mutated models in a process of its own: `python -m tests.fuzz.model_worker FIRST COUNT FOLDER`.

A line a seed is printed before it is tried, so that a process that dies tells of what. What breaks the
rule is printed behind a `!`: a model gives the text that transformers gives, or one sentence.
"""

import contextlib
import json
import os
import resource
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gguf import GGUFReader

from core import errors
from core.config import RunConfig
from core.decoding.run_start import Prompt
from core.engine import Engine
from core.errors import SpecDecodesError
from core.families.description import WITHOUT_EFFECT
from core.loading.loading import load_model
from core.models.quiet import quiet_transformers
from core.models.weight_files import CONFIG, key_mapping, read_json_object
from core.trace.events import RunFailed
from core.trace.file import Trace
from tests.core.models.folders import save_module
from tests.core.models.gguf_models import write_model
from tests.fuzz.gguf_mutations import ARRAY, Model, Tensor, Value, gguf_of, mutated_gguf
from tests.fuzz.model_mutations import mutated_folder
from tests.fuzz.offline_targets import check_sentence
from tests.tiny_models import FAMILIES

NUM_TOKENS = 5
_PROMPT = [5, 17, 99, 3, 42, 42, 7, 5, 17, 99, 3]
_MOST_SECONDS = 60
_MOST_BYTES = 16 << 30
# Where two tokens are as good as equal, sums in another order may choose the other.
_LEAST_GAP = 1e-3


def good_model() -> Any:
    """Weights of few bits, which all plain number formats hold."""
    torch.manual_seed(0)
    module = FAMILIES["llama"]()
    for parameter in module.parameters():
        spread = torch.randn(parameter.shape) * (0.15 if parameter.dim() > 1 else 0.3)
        parameter.data = (spread * 64).round().clamp(-127, 127) / 64 + (parameter.dim() == 1)
    return module.requires_grad_(False)


def good_gguf(path: Path) -> Model:
    write_model(path, good_model())
    reader = GGUFReader(path)
    values = [
        Value(key, int(field.types[0]), field.contents())
        for key, field in reader.fields.items()
        if not key.startswith("GGUF.")
    ]
    tensors = [
        Tensor(part.name, int(part.tensor_type), part.data.shape, np.array(part.data).tobytes())
        for part in reader.tensors
    ]
    path.unlink()
    assert all(value.kind != ARRAY or value.content for value in values)
    return Model(values, tensors)


def ours(name: str, seed: int) -> list[int] | str:
    """The ids, or what was said; every other error comes out."""
    try:
        model = load_model(name, dtype="float32", compile=seed % 3 == 0)
        engine = Engine(model)
        mode = "ngram" if seed % 2 else "naive"
        config = RunConfig.from_dict({"mode": mode, "max_new_tokens": NUM_TOKENS})
        events = list(engine.run(Prompt("", _PROMPT), config))
    except SpecDecodesError as error:
        check_sentence(error)
        return str(error)
    failed = [event for event in events if isinstance(event, RunFailed)]
    if failed:
        assert hasattr(errors, failed[0].error), f"{failed[0].error}: {failed[0].message}"
        return failed[0].message
    return Trace(events).token_ids


@torch.inference_mode()
def oracle(folder: Path) -> tuple[list[int], list[float]] | None:
    """transformers' greedy ids, and how far each was ahead of the next; None where it has none."""
    from transformers import AutoModelForCausalLM

    with contextlib.suppress(Exception):
        auto: Any = AutoModelForCausalLM
        module, report = auto.from_pretrained(
            folder, dtype=torch.float32, key_mapping=key_mapping(), output_loading_info=True
        )
        if report["missing_keys"]:  # they would be random
            return None
        prompt = torch.tensor([_PROMPT])
        answer = module.generate(
            prompt, attention_mask=torch.ones_like(prompt), do_sample=False, eos_token_id=None,
            pad_token_id=0, max_new_tokens=NUM_TOKENS, min_new_tokens=NUM_TOKENS,
            return_dict_in_generate=True, output_logits=True,
        )  # fmt: skip
        gaps = []
        for logits in answer.logits:
            best = logits[0].topk(2).values
            gaps.append(float(best[0] - best[1]))
        return answer.sequences[0, len(_PROMPT) :].tolist(), gaps
    return None


def bare(folder: Path) -> Path:
    """The folder without what has no effect here, of which transformers refuses odd values."""
    (folder / "generation_config.json").unlink(missing_ok=True)
    with contextlib.suppress(ValueError):
        config = read_json_object(folder / CONFIG)
        kept = {key: value for key, value in config.items() if key not in WITHOUT_EFFECT}
        (folder / CONFIG).write_text(json.dumps(kept), "utf-8")
    return folder


def disagreement(ids: list[int], expected: tuple[list[int], list[float]] | None) -> str | None:
    if expected is None:
        return f"it gives {ids}, and transformers nothing"
    if not ids:
        return "it gives no token at all"
    for got, wanted, gap in zip(ids, *expected, strict=False):
        if gap < _LEAST_GAP or gap != gap:
            return None
        if got != wanted:
            return f"it gives {ids}, and transformers {expected[0]}"
    return None


def _too_long(*_: object) -> None:
    raise TimeoutError(f"more than {_MOST_SECONDS} seconds")


def main(first: int, count: int, folder: Path) -> None:
    quiet_transformers()
    torch.set_num_threads(1)
    resource.setrlimit(resource.RLIMIT_AS, (_MOST_BYTES, _MOST_BYTES))
    signal.signal(signal.SIGALRM, _too_long)
    good_folder = folder / "good"
    save_module(good_folder, good_model())
    gguf = good_gguf(folder / "good.gguf")
    for seed in range(first, first + count):
        print(seed, flush=True)
        place = folder / str(seed)
        if seed % 2:
            mutation = mutated_folder(good_folder, place, seed)
            name, oracle_folder = place, place
        else:
            mutation = mutated_gguf(gguf, good_folder, place, seed)
            name, oracle_folder = gguf_of(place), place / "oracle"
        signal.alarm(_MOST_SECONDS)
        try:
            got = ours(str(name), seed // 2)
            broke = None
            if isinstance(got, list) and mutation.has_oracle:
                broke = disagreement(got, oracle(oracle_folder) or oracle(bare(oracle_folder)))
        except Exception as error:
            broke = f"{type(error).__name__}: {error}"
        finally:
            signal.alarm(0)
        if broke is not None:
            print(f"! {seed} {mutation.told}: {broke[:600]!r}", flush=True)
        elif os.environ.get("TELL"):
            print(f"  {mutation.told}: {got if isinstance(got, str) else 'ids'}", flush=True)
        shutil.rmtree(place)
        shutil.rmtree(Path(os.environ["SPECDECODES_HOME"]) / "converted", ignore_errors=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
