"""Folders and GGUF files of a tiny model with things left out, doubled, and of other types and sizes."""

import json
import random
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file, save_file

from tests.fuzz.junk import ODD_NUMBERS, ODD_TEXTS

CONFIG, WEIGHTS, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
# Settings that mean something to some model, and values that they have somewhere.
_KNOWN_SETTINGS: dict[str, tuple[Any, ...]] = {
    "attention_bias": (True, False, 1),
    "mlp_bias": (True, False),
    "head_dim": (8, 16, 32, 7, 0, None, 16.0),
    "hidden_act": ("silu", "gelu", "relu", "swish", "nothing", None),
    "hidden_size": (32, 64, 128, -1, 0),
    "intermediate_size": (96, 48, 0),
    "layer_types": (["full_attention"] * 2, ["sliding_attention", "full_attention"], ["odd"], 3),
    "max_position_embeddings": (512, 8, 0, 10**9, None),
    "model_type": ("llama", "mistral", "qwen2", "qwen3", "gemma", "granite", "nothing", None),
    "num_attention_heads": (4, 2, 8, 3, 0),
    "num_hidden_layers": (2, 1, 3, 10**9, 0),
    "num_key_value_heads": (2, 1, 4, 3, 0, None),
    "partial_rotary_factor": (0.5, 1.0, 0.0),
    "quantization_config": ({"quant_method": "gptq"}, {}, None, []),
    "rms_norm_eps": (1e-5, 0.0, 1.0, "small", None),
    "rope_parameters": (
        {"rope_type": "default", "rope_theta": 100.0}, {"rope_type": "linear", "factor": 2.0},
        {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64},
        {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
         "original_max_position_embeddings": 64},
        {"rope_type": "llama3"}, {"rope_type": "dynamic", "factor": 2.0}, {"rope_type": "odd"}, [], None,
        {"rope_type": "longrope", "short_factor": [1.0] * 8, "long_factor": [2.0] * 8,
         "original_max_position_embeddings": 512},
    ),
    "rope_scaling": ({"type": "linear", "factor": 2.0}, {"factor": 2.0}, None, 7),
    "rope_theta": (10_000.0, 10, 0, -1.0, None),
    "sliding_window": (4, 512, 0, None, -1),
    "tie_word_embeddings": (True, False, None, "no"),
    "transformers_weights": ("other.safetensors", WEIGHTS, "../x.safetensors", 3),
    "use_sliding_window": (True, False),
    "vocab_size": (192, 191, 193, 2**40, 0),
    "logit_scale": (0.5, 0, None),
    "architectures": (["LlamaForCausalLM"], ["Other"], [], None),
    "eos_token_id": (180, [1, 180], -1, "end", 10**9, None, [None]),
}  # fmt: skip
_DTYPES = (
    torch.float16, torch.bfloat16, torch.float64, torch.int8, torch.int64, torch.float8_e4m3fn,
    torch.bool,
)  # fmt: skip
_PREFIXES = ("_orig_mod.", "module.", "model.", "base_model.model.", "x.")


class Mutation(NamedTuple):
    """What was done, and whether another program's reading of the same folder says what is right."""

    told: list[str]
    has_oracle: bool


def mutated_folder(good: Path, folder: Path, seed: int) -> Mutation:
    """A copy of a good folder with one to three things changed."""
    chance = random.Random(seed)
    shutil.copytree(good, folder)
    changes: list[Callable[[Path, random.Random], str]] = [
        _config_value, _config_value, _config_value, _config_text, _tensors, _tensors, _tensors,
        _files, _index, _generation, _bytes,
    ]  # fmt: skip
    told = [chance.choice(changes)(folder, chance) for _ in range(chance.randint(1, 3))]
    return Mutation(told, has_oracle=True)


def _config_value(folder: Path, chance: random.Random) -> str:
    values = _read(folder / CONFIG)
    if not isinstance(values, dict):
        return "no config"
    key = chance.choice([*_KNOWN_SETTINGS, *_KNOWN_SETTINGS, *values, "new_setting"])
    match chance.randint(0, 5):
        case 0:
            values.pop(key, None)
            told = f"without {key}"
        case 1:
            values[key] = chance.choice([*ODD_NUMBERS[:12], *ODD_TEXTS[:20], None, [], {}, True])
            told = f"{key}={values[key]!r:.60}"
        case _:
            values[key] = chance.choice(_KNOWN_SETTINGS.get(key, (1, None, "x", [], {})))
            told = f"{key}={values[key]!r:.60}"
    (folder / CONFIG).write_text(json.dumps(values), "utf-8", errors="replace")
    return told


def _config_text(folder: Path, chance: random.Random) -> str:
    """Doubled keys, other encodings, other roots."""
    path = folder / CONFIG
    if not path.exists():
        return "no config"
    text = path.read_text("utf-8", errors="replace")
    key = chance.choice(list(_KNOWN_SETTINGS))
    value = json.dumps(chance.choice(_KNOWN_SETTINGS[key]))
    forms = (
        text.rstrip().rstrip("}") + f', "{key}": {value}}}', "[" + text + "]", "", "null", text[:-2],
        "\ufeff" + text, text.replace("\n", "\r\n"), text * 2,
    )  # fmt: skip
    place = chance.choice([0, 0, 0, *range(len(forms))])
    path.write_text(forms[place], "utf-8")
    return f"config text {place} {key}={value[:40]}"


def _tensors(folder: Path, chance: random.Random) -> str:
    try:
        tensors = load_file(folder / WEIGHTS)
    except Exception:  # changed before
        return "no tensors"
    if not tensors:
        return "no tensors"
    name = chance.choice(sorted(tensors))
    match chance.randint(0, 8):
        case 0:
            del tensors[name]
            told = f"without {name}"
        case 1:
            prefix = chance.choice(_PREFIXES)
            names = tensors if chance.random() < 0.6 else [name]
            tensors = {prefix + key if key in names else key: part for key, part in tensors.items()}
            told = f"{prefix} before {len(names)}"
        case 2:
            dtype = chance.choice(_DTYPES)
            names = tensors if chance.random() < 0.5 else [name]
            for key in list(names):
                tensors[key] = tensors[key].to(dtype)
            told = f"{dtype} for {len(names)}"
        case 3:
            tensors[name] = _resized(tensors[name], chance)
            told = f"{name} of {tuple(tensors[name].shape)}"
        case 4:
            extra = chance.choice([
                "lm_head.weight", "model.layers.0.self_attn.q_proj.bias", "model.layers.9.x", "score",
                "model.layers.0.self_attn.rotary_emb.inv_freq", "_orig_mod." + name, "lm_head.bias",
                "model.layers.0.self_attn.q_norm.weight", "model.layers.0.mlp.up_proj.bias",
            ])  # fmt: skip
            tensors[extra] = chance.choice([torch.ones(64), tensors[name].clone()])
            told = f"with {extra}"
        case 5:
            other = chance.choice(sorted(tensors))
            tensors[name], tensors[other] = tensors[other], tensors[name]
            told = f"{name} for {other}"
        case 6:
            tensors["lm_head.weight"] = tensors.get(
                "model.embed_tokens.weight", torch.ones(1)
            ).clone()
            told = "a head that is the table"
        case 7:
            tensors = {key.removeprefix("model."): part for key, part in tensors.items()}
            told = "without model."
        case _:
            tensors = {}
            told = "no tensor at all"
    tensors = {key: part.clone().contiguous() for key, part in tensors.items()}
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    return told


def _resized(tensor: torch.Tensor, chance: random.Random) -> torch.Tensor:
    forms = (
        tensor.t().contiguous() if tensor.dim() == 2 else tensor[None],
        tensor[:-1], torch.cat([tensor, tensor]), tensor.flatten(), tensor[:0], tensor.unsqueeze(-1),
        torch.zeros(()),
    )  # fmt: skip
    return chance.choice(forms).clone()


def _files(folder: Path, chance: random.Random) -> str:
    weights, other = folder / WEIGHTS, folder / "other.safetensors"
    match chance.randint(0, 6):
        case 0 if weights.exists():
            weights.rename(other)
            return "weights renamed"
        case 1 if weights.exists():
            shutil.copy(weights, folder / chance.choice(["a.safetensors", "zz.safetensors"]))
            return "weights doubled"
        case 2:
            weights.unlink(missing_ok=True)
            return "no weights"
        case 3 if weights.exists():
            weights.rename(folder / "pytorch_model.bin")
            return "a pickle"
        case 4:
            (folder / CONFIG).unlink(missing_ok=True)
            return "no config"
        case 5:
            (folder / "tokenizer.json").unlink(missing_ok=True)
            return "no tokenizer"
    (folder / "adapter_config.json").write_text("{}")
    return "an adapter's configuration"


def _index(folder: Path, chance: random.Random) -> str:
    """The weights in two shards and an index, of which something may be wrong."""
    try:
        tensors = load_file(folder / WEIGHTS)
    except Exception:
        return "no tensors"
    names = sorted(tensors)
    first, second = (f"model-0000{number}-of-00002.safetensors" for number in (1, 2))
    shards = {first: names[::2], second: names[1::2]}
    for file, part in shards.items():
        save_file({name: tensors[name] for name in part}, folder / file, {"format": "pt"})
    weight_map: Any = {name: file for file, part in shards.items() for name in part}
    kinds = ["whole", "shard gone", "name gone", "other file", "odd map", "doubled", "both"]
    told = chance.choice(kinds)
    if told == "shard gone":
        (folder / chance.choice(list(shards))).unlink()
    elif told == "name gone" and names:
        weight_map.pop(chance.choice(names))
    elif told == "other file" and names:
        weight_map[chance.choice(names)] = chance.choice(
            ["x.safetensors", "../y.safetensors", 3, None]
        )
    elif told == "odd map":
        weight_map = chance.choice([{}, [], None, "x"])
    elif told == "doubled" and names:
        save_file(
            {name: torch.zeros_like(tensors[name]) for name in names},
            folder / "model-00002-of-00002.safetensors",
            {"format": "pt"},
        )
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / INDEX).write_text(json.dumps(index), "utf-8")
    if told != "both":
        (folder / WEIGHTS).unlink()
    return f"shards: {told}"


def _generation(folder: Path, chance: random.Random) -> str:
    value = chance.choice(_KNOWN_SETTINGS["eos_token_id"])
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": value}), "utf-8")
    return f"generation ends at {value}"


def _bytes(folder: Path, chance: random.Random) -> str:
    """A few bytes of a header or a text are others, cut out or put in."""
    path = folder / chance.choice([CONFIG, WEIGHTS, WEIGHTS, INDEX])
    if not path.exists():
        return "no such file"
    path.write_bytes(broken(path.read_bytes(), chance, 3000))
    return f"bytes of {path.name}"


def broken(data: bytes, chance: random.Random, most: int) -> bytes:
    """Good bytes of which some among the first `most` are others."""
    broken = bytearray(data)
    for _ in range(chance.randint(1, 3)):
        place = chance.randrange(max(1, min(most, len(broken))))
        match chance.randint(0, 3):
            case 0:
                broken[place : place + 1] = bytes([chance.randrange(256)])
            case 1:
                del broken[place : place + chance.randint(1, 16)]
            case 2:
                broken[place:place] = chance.randbytes(chance.randint(1, 8))
            case _:
                number = chance.choice([0, 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1])
                broken[place : place + 8] = struct.pack("<Q", number)
    return bytes(broken[: chance.choice([len(broken)] * 5 + [len(broken) // 2])])


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
