"""A GGUF file's metadata as a configuration in transformers' words, with nothing left over.

Every value under the architecture's name is honoured, is known to change nothing, or is refused by
name. What the keys mean is llama.cpp's to say (llama-model.cpp, llama-context.cpp, conversion/).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from core.errors import shown
from core.models.gguf_tensors import GgufTensor


class Family(NamedTuple):
    """A Llama-shaped architecture of GGUF files."""

    model_type: str
    class_name: str
    is_permuted: bool
    """Whether pairs that rotate together lie side by side in rows of queries and keys."""


FAMILIES = {
    "llama": Family("llama", "LlamaForCausalLM", True),
    "qwen2": Family("qwen2", "Qwen2ForCausalLM", False),
    "qwen3": Family("qwen3", "Qwen3ForCausalLM", False),
}
ROPE_FREQS = "rope_freqs.weight"
# Values with which a key changes nothing: those named here, and off for all others.
_OFF = (0, False, "")
_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "attention.causal": (True,),
    "attention.scale": (0.0,),
    "embedding_scale": (0.0, 1.0),
    "logit_scale": (0.0, 1.0),
    "residual_scale": (0.0, 1.0),
    "rope.scaling.attn_factor": (1.0,),
    "rope.scaling.finetuned": (True, False),
    "rope.scaling.yarn_ext_factor": (1.0, -1.0),
    "tensor_data_layout": ("Meta AI original pth", "jploski"),
}
_DEFAULT_THETA = 10_000.0


def config_of(metadata: Mapping[str, Any], tensors: Mapping[str, GgufTensor]) -> dict[str, Any]:
    """What config.json would say of a file of one of the FAMILIES.

    Raises ValueError with a reason for what is missing, impossible or not honoured.
    """
    values = _Values(metadata)
    family = FAMILIES[values.architecture]
    num_heads = values.count("attention.head_count")
    hidden_size = values.count("embedding_length")
    head_dim = values.count("attention.key_length", hidden_size // num_heads)
    context_length = values.count("context_length")
    num_tokens = num_rows(tensors)
    for key, expected in (
        ("attention.value_length", head_dim),
        ("rope.dimension_count", head_dim),
        ("vocab_size", num_tokens),
    ):
        values.expect(key, expected)
    num_layers = values.count("block_count")
    if num_layers > len(tensors):
        raise ValueError(f"{num_layers} layers are more than its tensors make")
    window = values.get("attention.sliding_window", 0)
    if window and window < context_length:
        raise values.not_honoured("attention.sliding_window")
    names = list(tensors)
    config = {
        "architectures": [family.class_name],
        "model_type": family.model_type,
        "hidden_act": "silu",
        "hidden_size": hidden_size,
        "intermediate_size": values.count("feed_forward_length"),
        "num_hidden_layers": num_layers,
        "num_attention_heads": num_heads,
        "num_key_value_heads": values.count("attention.head_count_kv", num_heads),
        "head_dim": head_dim,
        "vocab_size": num_tokens,
        "max_position_embeddings": context_length,
        "rms_norm_eps": values.number("attention.layer_norm_rms_epsilon"),
        "rope_parameters": _rotation(values, tensors, head_dim, context_length),
        "tie_word_embeddings": "output.weight" not in tensors,
    }
    for name, key in (("bos", "bos"), ("eos", "eos"), ("pad", "padding")):
        token_id = metadata.get(f"tokenizer.ggml.{key}_token_id")
        if type(token_id) is int and token_id < num_tokens:
            config[f"{name}_token_id"] = token_id
    if family.model_type != "qwen2":
        config["attention_bias"] = any(name.endswith("attn_q.bias") for name in names)
    if family.model_type == "llama":
        config["mlp_bias"] = any(name.endswith("ffn_up.bias") for name in names)
    values.check_all_honoured()
    return config


def is_neutral(key: str, value: Any) -> bool:
    """Whether a key that is not honoured, behind an architecture's name, changes nothing."""
    return value in _NEUTRAL.get(key, _OFF)


def num_rows(tensors: Mapping[str, GgufTensor]) -> int:
    if "token_embd.weight" not in tensors:
        raise ValueError("it has no token_embd.weight")
    return tensors["token_embd.weight"].shape[0]


def _rotation(
    values: "_Values", tensors: Mapping[str, GgufTensor], head_dim: int, context_length: int
) -> dict[str, Any]:
    """The rotation as llama.cpp reads it: a factor without a kind is linear."""
    settings: dict[str, Any] = {"rope_theta": values.number("rope.freq_base", _DEFAULT_THETA)}
    factor = values.number("rope.scaling.factor", values.number("rope.scale_linear", 0.0)) or 1.0
    kind = values.get("rope.scaling.type", "linear")
    length = values.count("rope.scaling.original_context_length", context_length)
    yarn = {
        name: values.number(f"rope.scaling.{key}")
        for name, key in (
            ("attention_factor", "yarn_attn_factor"),
            ("beta_fast", "yarn_beta_fast"),
            ("beta_slow", "yarn_beta_slow"),
        )
        if values.has(f"rope.scaling.{key}")
    }
    if ROPE_FREQS in tensors:
        if kind not in ("none", "linear") or (kind == "linear" and factor != 1.0):
            raise ValueError(f"it has {ROPE_FREQS} and scales positions in another way as well")
        return settings | _own_frequencies(tensors[ROPE_FREQS], head_dim, context_length)
    if kind == "yarn":
        told = {"rope_type": "yarn", "factor": factor, "original_max_position_embeddings": length}
        return settings | told | yarn
    if kind == "linear" and factor != 1.0:
        return settings | {"rope_type": "linear", "factor": factor}
    if kind in ("none", "linear"):
        return settings | {"rope_type": "default"}
    raise values.not_honoured("rope.scaling.type")


def _own_frequencies(tensor: GgufTensor, head_dim: int, context_length: int) -> dict[str, Any]:
    """Frequencies divided one by one, as files of Llama 3.1 have them.

    transformers has a name for that only where a text may become long: short and long are the same.
    """
    factors = np.asarray(tensor.data)
    if tensor.type_name != "F32" or factors.shape != (head_dim // 2,) or not (factors > 0).all():
        raise ValueError(f"{ROPE_FREQS} is not {head_dim // 2} numbers above 0")
    divisors = [float(str(factor)) for factor in factors]
    return {
        "rope_type": "longrope",
        "short_factor": divisors,
        "long_factor": divisors,
        "attention_factor": 1.0,
        "factor": 1.0,
        "original_max_position_embeddings": context_length,
    }


class _Values:
    """The values under an architecture's name, and which of them were asked for."""

    def __init__(self, metadata: Mapping[str, Any]):
        self.architecture = str(metadata["general.architecture"])
        prefix = f"{self.architecture}."
        self._values = {
            key.removeprefix(prefix): value
            for key, value in metadata.items()
            if key.startswith(prefix)
        }
        self._asked: set[str] = set()

    def has(self, key: str) -> bool:
        return key in self._values

    def get(self, key: str, default: Any = None) -> Any:
        """A value of any sort; raises ValueError where there is neither it nor a default."""
        self._asked.add(key)
        value = self._values.get(key, default)
        if value is None:
            raise ValueError(f"it does not say {self.architecture}.{key}")
        return value

    def count(self, key: str, default: int | None = None) -> int:
        """A whole number above 0."""
        value = self.get(key, default)
        if type(value) is not int or value <= 0:
            raise self._odd(key, "a whole number above 0")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """A number as it was written, before it became one of 32 bits."""
        value = self.get(key, default)
        if type(value) not in (int, float) or not np.isfinite(value):
            raise self._odd(key, "a number")
        return float(str(np.float32(value)))

    def expect(self, key: str, expected: int) -> None:
        """Raises ValueError where the file says something else."""
        if self.get(key, expected) != expected:
            raise self._odd(key, str(expected))

    def check_all_honoured(self) -> None:
        for key in sorted(set(self._values) - self._asked):
            if not is_neutral(key, self._values[key]):
                raise self.not_honoured(key)

    def not_honoured(self, key: str) -> ValueError:
        return ValueError(
            f"its {self.architecture}.{key} is {shown(self._values[key])}, which is not computed"
        )

    def _odd(self, key: str, allowed: str) -> ValueError:
        return ValueError(
            f"its {self.architecture}.{key} is {shown(self._values.get(key))} and not {allowed}"
        )
