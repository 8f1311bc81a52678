"""Folders of a model and its shipped drafters in the sizes of a larger model."""

import json
import shutil
from pathlib import Path
from typing import Any

import torch

from core.benchmark.wide_shapes import Narrow, WideShape, Width
from core.benchmark.widening import widened_eagle, widened_llama
from core.drafters.eagle_head import read_parts, write_parts
from core.errors import InvalidSettingError
from core.loading.loading import load_model
from core.models.conversion import MANIFEST_NAME
from core.models.shipped import shipped_folder
from core.runtime.written_files import save_tensors
from core.strict_json import dumps

_MOST_BYTES = 1 << 31


def widen(target: str, shape: WideShape, out: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Writes `out`/target, and `out`/eagle and `out`/draft where they are shipped for the target.

    Raises InvalidSettingError where the model does not fit into the shape.
    """
    model = load_model(target, dtype="float32", compile=False)
    narrow = widen_llama(model.source.folder, out / "target", shape.target, dtype)
    draft = shipped_folder(model.source_key, "draft")
    eagle = shipped_folder(model.source_key, "eagle")
    if draft is not None:
        widen_llama(draft, out / "draft", shape.draft, dtype)
    if eagle is not None:
        widen_eagle(eagle, out / "eagle", narrow, shape.target, dtype)


def widen_llama(folder: Path, out: Path, wide: Width, dtype: torch.dtype) -> Narrow:
    """One causal language model with its tokenizer; returns the sizes that it has now."""
    config: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("architectures") != ["LlamaForCausalLM"]:
        raise InvalidSettingError(
            f"{folder.name} is of the architecture {config.get('architectures')}; only Llama-shaped "
            "models are widened."
        )
    heads = int(config["num_attention_heads"])
    narrow = Narrow(
        hidden=int(config["hidden_size"]),
        num_layers=int(config["num_hidden_layers"]),
        num_heads=heads,
        num_kv_heads=int(config["num_key_value_heads"]),
        head_dim=int(config.get("head_dim") or config["hidden_size"] // heads),
        intermediate=int(config["intermediate_size"]),
    )
    out.mkdir(parents=True, exist_ok=True)
    groups = widened_llama(read_parts(folder), narrow, wide)
    part: dict[str, torch.Tensor] = {}
    index: dict[str, str] = {}
    size = number = total = 0
    for group in [*groups, {}]:  # the last one writes what is left
        tensors = {name: tensor.to(dtype).contiguous() for name, tensor in group.items()}
        if part and (not group or size > _MOST_BYTES):
            number += 1
            name = f"model-{number:05d}.safetensors"
            save_tensors(part, out / name, {"format": "pt"})
            index.update(dict.fromkeys(part, name))
            total += size
            part, size = {}, 0
        part.update(tensors)
        size += sum(tensor.nbytes for tensor in tensors.values())
    (out / "model.safetensors.index.json").write_text(
        dumps({"metadata": {"total_size": total}, "weight_map": index})
    )
    config.update(
        hidden_size=wide.hidden,
        num_hidden_layers=wide.num_layers,
        num_attention_heads=wide.num_heads,
        num_key_value_heads=wide.num_heads,
        head_dim=wide.head_dim,
        intermediate_size=wide.intermediate,
        tie_word_embeddings=False,
        rms_norm_eps=config["rms_norm_eps"] * narrow.hidden / wide.hidden,
        dtype=str(dtype).removeprefix("torch."),
    )
    (out / "config.json").write_text(dumps(config, indent=1))
    for path in folder.iterdir():
        if path.suffix in (".json", ".jinja") and path.name not in (
            "config.json", "model.safetensors.index.json", "training.json", MANIFEST_NAME,
        ):  # fmt: skip
            shutil.copy(path, out / path.name)
    return narrow


def widen_eagle(folder: Path, out: Path, narrow: Narrow, wide: Width, dtype: torch.dtype) -> None:
    """An EAGLE-3 head, whose layer has the target's sizes."""
    description = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    sizes = narrow._replace(
        num_heads=int(description["num_heads"]),
        num_kv_heads=int(description["num_kv_heads"]),
        head_dim=int(description["head_dim"]),
        intermediate=int(description["intermediate_size"]),
    )
    tensors = widened_eagle(read_parts(folder), sizes, wide)
    out.mkdir(parents=True, exist_ok=True)
    given = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
    write_parts(given, out, {"format": "pt"}, _MOST_BYTES)
    layers = {"feature_layers": description["feature_layers"], "format": "eagle3"}
    (out / "config.json").write_text(dumps(layers))
