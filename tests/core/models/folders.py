"""Folders of tiny models, what is changed in them, and the text that transformers makes of them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from core.config import RunConfig
from core.decoding.run_start import Prompt
from core.engine import Engine
from core.loading.loading import load_model
from core.trace.file import Trace
from tests.tiny_folder import byte_tokenizer

# Longer than the windows of the tests.
PROMPT = "One two three, one two three four, one two three four five. "
NUM_TOKENS = 24


def save_module(folder: Path, module: Any, **how: Any) -> str:
    """A model with a tokenizer, whose end is the only one; `how` is for `save_pretrained`."""
    module.generation_config.eos_token_id = None
    module.save_pretrained(folder, **how)
    byte_tokenizer().save_pretrained(folder)
    return str(folder)


def change_config(folder: Path, **changed: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **changed}), "utf-8")


def change_weights(
    folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor] | None]
) -> None:
    """`change` works on the tensors in place, or gives others."""
    path = folder / "model.safetensors"
    tensors = load_file(path)
    save_file(change(tensors) or tensors, path, {"format": "pt"})


def ids_of(name: str, mode: str = "naive", *, compile: bool = False) -> list[int]:
    """The greedy answer in float32 to the prompt in the tokens of `byte_tokenizer`."""
    engine = Engine(load_model(name, dtype="float32", compile=compile))
    prompt = Prompt(PROMPT, byte_tokenizer()(PROMPT).input_ids)
    config = RunConfig.from_dict({"mode": mode, "max_new_tokens": NUM_TOKENS})
    return Trace(list(engine.run(prompt, config))).token_ids


@torch.inference_mode()
def oracle_ids(folder: str) -> list[int]:
    """transformers' own greedy answer to the same prompt."""
    module: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = byte_tokenizer()
    prompt = torch.tensor([tokenizer(PROMPT).input_ids])
    answer = module.generate(
        prompt, attention_mask=torch.ones_like(prompt), do_sample=False, max_new_tokens=NUM_TOKENS,
        eos_token_id=tokenizer.eos_token_id, pad_token_id=0,
    )  # fmt: skip
    return list(answer[0, prompt.shape[1] :].tolist())
