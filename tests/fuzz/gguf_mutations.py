"""GGUF files of a tiny model with things left out, doubled, and of other types and sizes.

They are written byte by byte, for gguf's writer refuses most of this.
"""

import json
import random
import shutil
import struct
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tests.fuzz.model_mutations import CONFIG, Mutation, broken

# Numbers of types in the format, and how `struct` writes them.
UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64, FLOAT64 = 4, 5, 6, 7, 8, 9, 10, 12
_FORMS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TENSOR_TYPES = {0: np.float32, 1: np.float16, 24: np.int8, 26: np.int32, 28: np.float64}
_NEUTRAL: tuple[tuple[str, int, Any], ...] = (
    ("llama.attention.causal", BOOL, True), ("llama.expert_count", UINT32, 0),
    ("llama.rope.scaling.finetuned", BOOL, True), ("general.tags", ARRAY, ["a"]),
    ("llama.attention.sliding_window", UINT32, 512), ("llama.new", BOOL, False), ("other.key", INT32, 7),
)  # fmt: skip
_MEANT: tuple[tuple[str, int, Any], ...] = (
    ("llama.rope.freq_base", FLOAT32, 100.0), ("llama.rope.scaling.type", STRING, "linear"),
    ("llama.rope.scaling.factor", FLOAT32, 4.0), ("llama.rope.scaling.type", STRING, "yarn"),
    ("llama.rope.scaling.original_context_length", UINT32, 64),
    ("llama.rope.scaling.type", STRING, "none"), ("llama.rope.scale_linear", FLOAT32, 2.0),
    ("llama.rope.scaling.yarn_beta_fast", FLOAT32, 8.0),
    ("llama.rope.scaling.yarn_attn_factor", FLOAT32, 1.5),
    ("llama.attention.layer_norm_rms_epsilon", FLOAT32, 0.25),
    ("llama.attention.layer_norm_rms_epsilon", FLOAT64, 0.5),
    ("llama.rope.freq_base", UINT32, 1000), ("llama.context_length", UINT32, 64),
)  # fmt: skip
_REFUSED: tuple[tuple[str, int, Any], ...] = (
    ("llama.attention.causal", BOOL, False), ("llama.expert_count", UINT32, 4),
    ("llama.attention.sliding_window", UINT32, 4), ("llama.logit_scale", FLOAT32, 0.5),
    ("llama.rope.dimension_count", UINT32, 8), ("llama.new", UINT32, 3), ("general.type", STRING, "x"),
    ("llama.attention.head_count", UINT32, 8), ("llama.block_count", UINT32, 1),
    ("llama.block_count", UINT32, 2**32 - 1), ("llama.embedding_length", UINT32, 32),
    ("general.architecture", STRING, "odd"), ("general.architecture", UINT32, 3),
    ("general.alignment", UINT32, 48), ("split.count", UINT32, 3),
)  # fmt: skip


class Value(NamedTuple):
    key: str
    kind: int
    content: Any


class Tensor(NamedTuple):
    name: str
    kind: int
    shape: tuple[int, ...]
    content: bytes


class Model(NamedTuple):
    """A file before it is bytes."""

    values: list[Value]
    tensors: list[Tensor]


def mutated_gguf(good: Model, good_folder: Path, folder: Path, seed: int) -> Mutation:
    """`model.gguf` or shards in a folder, and in its `oracle` what it means to transformers."""
    chance = random.Random(seed)
    model = Model(list(good.values), list(good.tensors))
    folder.mkdir()
    told = []
    for _ in range(chance.randint(1, 3)):
        change = chance.choice([_value, _value, _value, _odd_value, _tensor, _tensor])
        told.append(change(model, chance))
    data = as_bytes(model)
    is_whole = chance.random() > 0.15
    if not is_whole:
        data = broken(data, chance, 6000)
        told.append("bytes")
    if is_whole and chance.random() < 0.15:
        told.append(_write_shards(model, folder, chance))
    else:
        (folder / "model.gguf").write_bytes(data)
    _write_oracle(model, good_folder, folder / "oracle")
    return Mutation(told, has_oracle=is_whole)


def gguf_of(folder: Path) -> Path:
    """The file that is given: a model's only one, or its first shard."""
    return min(folder.glob("*.gguf"))


def as_bytes(model: Model) -> bytes:
    head = b"GGUF" + struct.pack("<IQQ", 3, len(model.tensors), len(model.values))
    for value in model.values:
        head += (
            _string(value.key) + struct.pack("<I", value.kind) + _content(value.kind, value.content)
        )
    offset = 0
    for tensor in model.tensors:
        head += _string(tensor.name) + struct.pack("<I", len(tensor.shape))
        head += struct.pack(f"<{len(tensor.shape)}Q", *reversed(tensor.shape))
        head += struct.pack("<IQ", tensor.kind, offset)
        offset += -(-len(tensor.content) // 32) * 32
    body = b"".join(tensor.content + bytes(-len(tensor.content) % 32) for tensor in model.tensors)
    return head + bytes(-len(head) % 32) + body


def _string(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogatepass")
    return struct.pack("<Q", len(raw)) + raw


def _content(kind: int, content: Any) -> bytes:
    if kind == STRING:
        return _string(str(content))
    if kind == ARRAY:
        inner = STRING if all(isinstance(item, str) for item in content) else INT32
        items = b"".join(_content(inner, item) for item in content)
        return struct.pack("<IQ", inner, len(content)) + items
    return struct.pack("<" + _FORMS[kind], content)


def _put(model: Model, value: Value) -> None:
    places = [place for place, old in enumerate(model.values) if old.key == value.key]
    if places:
        model.values[places[0]] = value
    else:
        model.values.append(value)


def _value(model: Model, chance: random.Random) -> str:
    value = Value(*chance.choice([*_NEUTRAL, *_MEANT, *_MEANT, *_REFUSED]))
    _put(model, value)
    return f"{value.key}={value.content!r}"


def _odd_value(model: Model, chance: random.Random) -> str:
    """Left out, doubled, or of another type."""
    old = chance.choice(model.values)
    match chance.randint(0, 2):
        case 0:
            model.values.remove(old)
            return f"without {old.key}"
        case 1:
            model.values.append(old)
            return f"{old.key} twice"
    kind = chance.choice([UINT32, INT32, FLOAT32, BOOL, STRING, ARRAY, UINT64, FLOAT64, 0, 3])
    contents: dict[int, Any] = {
        STRING: "odd",
        ARRAY: [1, 2],
        BOOL: True,
        FLOAT32: 0.5,
        FLOAT64: 2.5,
    }
    content = contents.get(kind, chance.choice([0, 1, 2, 4, 100]))
    _put(model, Value(old.key, kind, content))
    return f"{old.key}={content!r} of type {kind}"


def _tensor(model: Model, chance: random.Random) -> str:
    if not model.tensors:
        return "no tensor"
    place = chance.randrange(len(model.tensors))
    old = model.tensors[place]
    match chance.randint(0, 7):
        case 0:
            del model.tensors[place]
            return f"without {old.name}"
        case 1:
            model.tensors.append(old)
            return f"{old.name} twice"
        case 2:
            name = chance.choice(["blk.0.attn_q.bias", "blk.9.ffn_up.weight", "odd", "", "output.weight",
                                  "blk.0.attn_qkv.weight", "rope_factors_long.weight"])  # fmt: skip
            model.tensors.append(old._replace(name=name))
            return f"with {name}"
        case 3:
            if old.kind == 0:
                kind = chance.choice([1, 28])
                numbers = np.frombuffer(old.content, dtype=np.float32).astype(_TENSOR_TYPES[kind])
                model.tensors[place] = old._replace(kind=kind, content=numbers.tobytes())
            return f"{old.name} in other numbers"
        case 4:
            model.tensors[place] = old._replace(
                kind=chance.choice([1, 2, 8, 24, 28, 31, 99, 2**31])
            )
            return f"{old.name} of a type that it is not"
        case 5:
            shape = chance.choice(
                [old.shape[::-1], (*old.shape, 1), old.shape[1:], (2**40,), (0, 4)]
            )
            model.tensors[place] = old._replace(shape=shape)
            return f"{old.name} of {shape}"
        case 6:
            divisors = np.array(
                chance.choice([[1.0] * 8, [1.0, 2, 3, 4, 5, 6, 7, 8], [0.0] * 8, [2.0]])
            )
            content = divisors.astype(np.float32).tobytes()
            model.tensors.append(Tensor("rope_freqs.weight", 0, (len(divisors),), content))
            return f"rope_freqs {divisors.tolist()}"
    model.tensors[place] = old._replace(content=old.content[: len(old.content) // 2])
    return f"half of {old.name}"


def _write_shards(model: Model, folder: Path, chance: random.Random) -> str:
    count = chance.choice([2, 3])
    told = chance.choice(["whole", "whole", "gone", "no count", "swapped"])
    for number in range(count):
        split = [
            Value("split.no", 2, number if told != "swapped" else count - 1 - number),
            Value("split.count", 2, count), Value("split.tensors.count", INT32, len(model.tensors)),
        ]  # fmt: skip
        part = Model(
            (model.values if number == 0 else []) + (split if told != "no count" else []),
            model.tensors[number::count],
        )
        path = folder / f"model-{number + 1:05d}-of-{count:05d}.gguf"
        path.write_bytes(as_bytes(part))
    if told == "gone":
        path.unlink()
    return f"{count} shards: {told}"


def _write_oracle(model: Model, good: Path, folder: Path) -> None:
    """The good folder with what the values mean of rotation and norms, where they mean anything."""
    shutil.copytree(good, folder)
    values = {value.key.removeprefix("llama."): value.content for value in model.values}
    config = json.loads((folder / CONFIG).read_text("utf-8"))
    epsilon = values.get("attention.layer_norm_rms_epsilon")
    # In a GGUF file a whole number is as good.
    config["rms_norm_eps"] = float(epsilon) if type(epsilon) is int else epsilon
    config["max_position_embeddings"] = values.get("context_length")
    rope: dict[str, Any] = {
        "rope_theta": values.get("rope.freq_base", 10_000.0),
        "rope_type": "default",
    }
    factor = values.get("rope.scaling.factor", values.get("rope.scale_linear", 1.0))
    kind = values.get("rope.scaling.type", "linear")
    if kind == "linear" and factor != 1.0:
        rope |= {"rope_type": "linear", "factor": factor}
    if kind == "yarn":
        length = values.get("rope.scaling.original_context_length", values.get("context_length"))
        rope |= {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": length}
        for key, name in (
            ("yarn_beta_fast", "beta_fast"),
            ("yarn_attn_factor", "attention_factor"),
        ):
            if f"rope.scaling.{key}" in values:
                rope[name] = values[f"rope.scaling.{key}"]
    divisors = [tensor for tensor in model.tensors if tensor.name == "rope_freqs.weight"]
    if divisors:
        numbers = np.frombuffer(divisors[0].content, dtype=np.float32).tolist()
        rope |= {
            "rope_type": "longrope", "short_factor": numbers, "long_factor": numbers, "factor": 1.0,
            "attention_factor": 1.0, "original_max_position_embeddings": 512,
        }  # fmt: skip
    config["rope_parameters"] = rope
    (folder / CONFIG).write_text(json.dumps(config), "utf-8")
