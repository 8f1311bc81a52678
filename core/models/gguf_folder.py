"""Writes what a GGUF file of a Llama-shaped model says as a folder in transformers' format."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file

from core.families.tensors import expected_shapes
from core.models.gguf_config import FAMILIES, ROPE_FREQS, config_of
from core.models.gguf_index import GgufFile
from core.models.gguf_tensors import GgufTensor, numbers_of, unpermuted
from core.models.model_config import read_model_config
from core.models.weight_files import CONFIG, INDEX, SINGLE, listed
from core.runtime.storage import Progress
from core.runtime.strict_json import dumps

# Names in transformers and in GGUF files; the former behind model.layers.N, the latter behind blk.N.
_WHOLE = {
    "model.embed_tokens": "token_embd",
    "model.norm": "output_norm",
    "lm_head": "output",
}
_OF_A_LAYER = {
    "input_layernorm": "attn_norm",
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm",
    "post_attention_layernorm": "ffn_norm",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
_LAYER = re.compile(r"model\.layers\.(\d+)\.(.+)")
_MOST_SHARD_BYTES = 4 << 30


class _Weight(NamedTuple):
    name: str
    """In transformers."""
    tensor: GgufTensor
    num_permuted: int
    """Heads whose rows are to be put in order; 0 for none."""


def write_folder(file: GgufFile, folder: Path, progress: Progress) -> None:
    """Configuration and weights of a file whose architecture is one of FAMILIES.

    Raises ValueError with a reason for what is missing, left over or not honoured.
    """
    config = config_of(file.metadata, file.tensors)
    (folder / CONFIG).write_text(dumps(config, indent=1), encoding="utf-8")
    model_config = read_model_config(folder)
    if model_config is None:
        raise ValueError("its sizes do not go together")
    shapes = {
        gguf_name(name): (name, sizes)
        for name, sizes in expected_shapes(model_config.described).items()
    }
    _check_tensors(file.tensors, {name: sizes for name, (_, sizes) in shapes.items()})
    shape = model_config.architecture
    heads = {"attn_q": shape.num_heads, "attn_k": shape.num_kv_heads}
    is_permuted = FAMILIES[file.architecture].is_permuted
    weights = [
        _Weight(
            name, file.tensors[stored], heads.get(stored.split(".")[-2], 0) if is_permuted else 0
        )
        for stored, (name, _) in shapes.items()
    ]
    _write_weights(weights, folder, progress)


def gguf_name(name: str) -> str:
    """The name in GGUF files of a weight of a Llama-shaped model."""
    stem, _, kind = name.rpartition(".")
    found = _LAYER.fullmatch(stem)
    if found is None:
        return f"{_WHOLE[stem]}.{kind}"
    return f"blk.{found[1]}.{_OF_A_LAYER[found[2]]}.{kind}"


def _check_tensors(
    tensors: Mapping[str, GgufTensor], wanted: Mapping[str, tuple[int, ...]]
) -> None:
    missing = set(wanted) - set(tensors)
    if missing:
        raise ValueError(f"it lacks {listed(missing)}")
    left_over = set(tensors) - set(wanted) - {ROPE_FREQS}
    if left_over:
        raise ValueError(f"it has {listed(left_over)}, which is not computed")
    wrong = [name for name, sizes in wanted.items() if tensors[name].shape != sizes]
    if wrong:
        raise ValueError(f"its {listed(wrong)} is of another size than its header says")


def _write_weights(weights: list[_Weight], folder: Path, progress: Progress) -> None:
    """One file, or shards of a size that memory holds and their index."""
    total = sum(weight.tensor.data.nbytes for weight in weights)
    done, shard_bytes = 0, 0
    shards: list[Path] = []
    shard: dict[str, torch.Tensor] = {}
    places: dict[str, int] = {}
    for number, weight in enumerate(weights, 1):
        rows = numbers_of(weight.tensor)
        if weight.num_permuted:
            rows = unpermuted(rows, weight.num_permuted)
        shard[weight.name] = rows.contiguous()
        places[weight.name] = len(shards)
        shard_bytes += rows.nbytes
        done += weight.tensor.data.nbytes
        progress("converting", done, total)
        if shard_bytes >= _MOST_SHARD_BYTES or number == len(weights):
            shards.append(folder / f"{len(shards)}.safetensors")
            save_file(shard, shards[-1], {"format": "pt"})
            shard, shard_bytes = {}, 0
    if len(shards) == 1:
        shards[0].rename(folder / SINGLE)
        return
    names = [
        f"model-{number:05d}-of-{len(shards):05d}.safetensors"
        for number in range(1, len(shards) + 1)
    ]
    for path, name in zip(shards, names, strict=True):
        path.rename(folder / name)
    weight_map = {name: names[place] for name, place in places.items()}
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / INDEX).write_text(dumps(index, indent=1), encoding="utf-8")
