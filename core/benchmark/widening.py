"""A model placed inside the shapes of a larger one, which computes the same and costs more.

A function-preserving widening (Net2Net, Chen et al. 2016): the added dimensions, heads and layers
are zero, and what depends on a width is scaled for the larger one:

- RMS norms divide by the root of the mean over more dimensions, so that their weights shrink by
  sqrt(hidden / wide hidden), and their epsilon by the square of that.
- Attention divides by the root of a larger head size, so that queries grow by its inverse.
- A rotary frequency theta^(-2i / head_dim) of a small head is every r-th of a head r times as wide.

Drafters are widened with their target, so that drafting costs what it would at that size.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from core.benchmark.wide_shapes import Narrow, WideShape, Width
from core.drafters.eagle_head import read_parts, write_parts
from core.errors import InvalidSettingError
from core.loading.loading import load_model
from core.models.conversion import MANIFEST_NAME
from core.models.shipped import shipped_folder
from core.runtime.strict_json import dumps
from core.runtime.written_files import save_tensors

Tensors = dict[str, torch.Tensor]

_MOST_BYTES = 1 << 31


class Widener:
    """Places the tensors of one network inside a wider one."""

    def __init__(self, narrow: Narrow, wide: Width):
        """Raises InvalidSettingError where the network does not fit in."""
        pairs = [
            ("hidden", narrow.hidden, wide.hidden),
            ("num_layers", narrow.num_layers, wide.num_layers),
            ("num_heads", narrow.num_heads, wide.num_heads),
            ("intermediate", narrow.intermediate, wide.intermediate),
        ]
        for name, small, large in pairs:
            if small > large:
                raise InvalidSettingError(
                    f"{name} of the model is {small} and of the shape {large}; give a larger shape."
                )
        if wide.head_dim % narrow.head_dim:
            raise InvalidSettingError(
                f"heads of {narrow.head_dim} do not fit into heads of {wide.head_dim}; give a "
                "shape whose head size is a multiple."
            )
        self._narrow, self._wide = narrow, wide
        self._norm_factor = (narrow.hidden / wide.hidden) ** 0.5
        self._query_factor = (wide.head_dim / narrow.head_dim) ** 0.5

    @property
    def eps_factor(self) -> float:
        """What the epsilon of all norms is multiplied by."""
        return self._narrow.hidden / self._wide.hidden

    def norm(self, weight: torch.Tensor) -> torch.Tensor:  # [hidden]
        """A norm's weight over the wide hidden size."""
        wide = weight.new_zeros(self._wide.hidden)
        wide[: len(weight)] = weight * self._norm_factor
        return wide

    def key_norm(self, weight: torch.Tensor) -> torch.Tensor:  # [head_dim]
        """A norm's weight over a wide head: it too divides by a mean over more dimensions."""
        wide: torch.Tensor = self.query_norm(weight) / self._query_factor
        return wide

    def query_norm(self, weight: torch.Tensor) -> torch.Tensor:  # [head_dim]
        """As of keys, and queries grow as `query` lets them, whose growth the norm takes away."""
        wide = weight.new_zeros(self._wide.head_dim)
        return wide.index_copy_(0, self._dims(), weight)

    def rows(self, weight: torch.Tensor) -> torch.Tensor:  # [vocab, hidden]
        """An embedding or an output layer: as many rows of the wide hidden size."""
        return self._placed(weight, len(weight), self._wide.hidden)

    def query(self, weight: torch.Tensor, num_inputs: int = 1) -> torch.Tensor:
        """Of `num_inputs` hidden rows beside each other."""
        heads = self._heads(weight * self._query_factor, self._narrow.num_heads, num_inputs)
        return self._wide_heads(heads)

    def key_or_value(self, weight: torch.Tensor, num_inputs: int = 1) -> torch.Tensor:
        """Heads that several queries read are repeated, once for each."""
        heads = self._heads(weight, self._narrow.num_kv_heads, num_inputs)
        return self._wide_heads(
            heads.repeat_interleave(self._narrow.num_heads // self._narrow.num_kv_heads, dim=0)
        )

    def _heads(self, weight: torch.Tensor, num_heads: int, num_inputs: int) -> torch.Tensor:
        """The weight by heads, its inputs widened  # [num_heads, head_dim, inputs]."""
        return self.inputs(weight, num_inputs).view(num_heads, self._narrow.head_dim, -1)

    def inputs(self, weight: torch.Tensor, num_inputs: int) -> torch.Tensor:
        """Columns of several hidden rows beside each other, each widened."""
        parts = weight.view(len(weight), num_inputs, self._narrow.hidden)
        wide = weight.new_zeros(len(weight), num_inputs, self._wide.hidden)
        wide[:, :, : self._narrow.hidden] = parts
        return wide.view(len(weight), -1)

    def _dims(self) -> torch.Tensor:
        """Where a head's dimensions stand in a wide head, so that they rotate as before."""
        step = self._wide.head_dim // self._narrow.head_dim
        half = torch.arange(self._narrow.head_dim // 2) * step
        return torch.cat([half, half + self._wide.head_dim // 2])

    def _wide_heads(self, heads: torch.Tensor) -> torch.Tensor:  # [heads, head_dim, inputs]
        wide = heads.new_zeros(self._wide.num_heads, self._wide.head_dim, heads.shape[-1])
        wide[: len(heads)].index_copy_(1, self._dims(), heads)
        return wide.view(-1, heads.shape[-1])

    def out(self, weight: torch.Tensor) -> torch.Tensor:
        """The projection behind attention  # [hidden, heads * head_dim]."""
        narrow, wide = self._narrow, self._wide
        heads = weight.view(narrow.hidden, narrow.num_heads, narrow.head_dim)
        placed = weight.new_zeros(wide.hidden, wide.num_heads, wide.head_dim)
        placed[: narrow.hidden, : narrow.num_heads].index_copy_(2, self._dims(), heads)
        return placed.view(wide.hidden, -1)

    def up(self, weight: torch.Tensor) -> torch.Tensor:
        """Gate or up projection  # [intermediate, hidden]."""
        return self._placed(weight, self._wide.intermediate, self._wide.hidden)

    def down(self, weight: torch.Tensor) -> torch.Tensor:
        """Down projection  # [hidden, intermediate]."""
        return self._placed(weight, self._wide.hidden, self._wide.intermediate)

    def placed(self, weight: torch.Tensor, num_rows: int) -> torch.Tensor:
        """More rows, which are zero."""
        return self._placed(weight, num_rows, weight.shape[1])

    def _placed(self, weight: torch.Tensor, num_rows: int, num_columns: int) -> torch.Tensor:
        wide = weight.new_zeros(num_rows, num_columns)
        wide[: weight.shape[0], : weight.shape[1]] = weight
        return wide

    def layer(self, tensors: Tensors, prefix: str) -> Tensors:
        """One decoder layer under transformers' names; a layer that is not there is zero."""
        if f"{prefix}self_attn.q_proj.weight" not in tensors:
            return {}
        makers = {
            "input_layernorm": self.norm,
            "self_attn.q_proj": self.query,
            "self_attn.k_proj": self.key_or_value,
            "self_attn.v_proj": self.key_or_value,
            "self_attn.q_norm": self.query_norm,
            "self_attn.k_norm": self.key_norm,
            "self_attn.o_proj": self.out,
            "post_attention_layernorm": self.norm,
            "mlp.gate_proj": self.up,
            "mlp.up_proj": self.up,
            "mlp.down_proj": self.down,
        }
        return {
            f"{prefix}{name}.weight": make(tensors[f"{prefix}{name}.weight"].float())
            for name, make in makers.items()
            if f"{prefix}{name}.weight" in tensors
        }


def widened_llama(tensors: Tensors, narrow: Narrow, wide: Width) -> Iterator[Tensors]:
    """A causal language model's tensors in float32, group by group."""
    widener = Widener(narrow, wide)
    table = tensors["model.embed_tokens.weight"].float()
    head = tensors.get("lm_head.weight", table).float()
    yield {"model.embed_tokens.weight": widener.rows(table)}
    yield {"lm_head.weight": widener.rows(head)}
    yield {"model.norm.weight": widener.norm(tensors["model.norm.weight"].float())}
    for index in range(wide.num_layers):
        layer = widener.layer(tensors, f"model.layers.{index}.")
        if layer:
            sizes = {name.split(".", 3)[3]: tensor.shape for name, tensor in layer.items()}
        yield layer or {
            f"model.layers.{index}.{name}": torch.zeros(size) for name, size in sizes.items()
        }


def widened_eagle(tensors: Tensors, narrow: Narrow, wide: Width) -> Tensors:
    """An EAGLE-3 head's tensors in float32."""
    widener = Widener(narrow, wide)
    fuse = tensors["fc.weight"].float()
    num_features = fuse.shape[1] // narrow.hidden
    layer = {name: tensor.float() for name, tensor in tensors.items() if tensor.is_floating_point()}
    made: Tensors = {
        "fc.weight": widener.placed(widener.inputs(fuse, num_features), wide.hidden),
        "norm.weight": widener.norm(layer["norm.weight"]),
        "midlayer.hidden_norm.weight": widener.norm(layer["midlayer.hidden_norm.weight"]),
        "lm_head.weight": widener.rows(layer["lm_head.weight"]),
    }
    prefix = "midlayer."
    attention = f"{prefix}self_attn."
    made[f"{attention}q_proj.weight"] = widener.query(layer[f"{attention}q_proj.weight"], 2)
    for name in ("k_proj", "v_proj"):
        weight = layer[f"{attention}{name}.weight"]
        made[f"{attention}{name}.weight"] = widener.key_or_value(weight, 2)
    made[f"{attention}o_proj.weight"] = widener.out(layer[f"{attention}o_proj.weight"])
    for name in ("input_layernorm", "post_attention_layernorm"):
        made[f"{prefix}{name}.weight"] = widener.norm(layer[f"{prefix}{name}.weight"])
    for name in ("gate_proj", "up_proj"):
        made[f"{prefix}mlp.{name}.weight"] = widener.up(layer[f"{prefix}mlp.{name}.weight"])
    made[f"{prefix}mlp.down_proj.weight"] = widener.down(layer[f"{prefix}mlp.down_proj.weight"])
    made.update({name: tensors[name] for name in ("d2t", "t2d") if name in tensors})
    return made


def widened_block(tensors: Tensors, narrow: Narrow, wide: Width) -> Tensors:
    """A block drafter's tensors in float32; its Markov head's tables have the rank that they had."""
    widener = Widener(narrow, wide)
    made = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
    fuse = made["fc.weight"]
    num_features = fuse.shape[1] // narrow.hidden
    made["fc.weight"] = widener.placed(widener.inputs(fuse, num_features), wide.hidden)
    for name in ("norm.weight", "hidden_norm.weight"):
        made[name] = widener.norm(made[name])
    for index in range(narrow.num_layers):
        made.update(widener.layer(made, f"layers.{index}."))
    for name in ("markov_head.gate_proj.weight", "confidence_head.proj.weight"):
        if name in made:  # they read a state, and what is no state behind it
            state, rest = made[name].tensor_split([narrow.hidden], dim=1)
            made[name] = torch.cat([widener.rows(state), rest], dim=1)
    return made


def widen(target: str, shape: WideShape, out: Path, dtype: torch.dtype = torch.bfloat16) -> None:
    """Writes `out`/target, and `out`/eagle, `out`/block and `out`/draft where they are shipped for it.

    Raises InvalidSettingError where the model does not fit into the shape.
    """
    model = load_model(target, dtype="float32", compile=False)
    narrow = widen_llama(model.source.folder, out / "target", shape.target, dtype)
    draft = shipped_folder(model.source_key, "draft")
    eagle = shipped_folder(model.source_key, "eagle")
    block = shipped_folder(model.source_key, "block")
    if draft is not None:
        widen_llama(draft, out / "draft", shape.draft, dtype)
    if eagle is not None:
        widen_eagle(eagle, out / "eagle", narrow, shape.target, dtype)
    if block is not None:
        widen_block(block, out / "block", narrow, shape.target, dtype)


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
    _widen_drafter(folder, out, narrow, wide, dtype, widened_eagle)


def widen_block(folder: Path, out: Path, narrow: Narrow, wide: Width, dtype: torch.dtype) -> None:
    """A block drafter, whose feed-forward grows as the target's does; of the form that
    `core.train.train_block` writes."""
    description = _description(folder)
    inner = int(description["intermediate_size"])
    # The added layers are zero, so that the numbers of those that it reads stay.
    inner_wide = inner * wide.intermediate // narrow.intermediate
    num_layers = int(description["num_hidden_layers"])
    _widen_drafter(
        folder, out, narrow._replace(num_layers=num_layers),
        wide._replace(intermediate=inner_wide), dtype, widened_block,
        num_target_layers=wide.num_layers,
    )  # fmt: skip


def _description(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return found


def _widen_drafter(
    folder: Path,
    out: Path,
    narrow: Narrow,
    wide: Width,
    dtype: torch.dtype,
    widened: Callable[[Tensors, Narrow, Width], Tensors],
    **told: Any,
) -> None:
    """A drafter that reads the target's states; `told` is what else its description says then."""
    description = _description(folder)
    sizes = narrow._replace(
        num_heads=int(description["num_attention_heads"]),
        num_kv_heads=int(description["num_key_value_heads"]),
        head_dim=int(description["head_dim"]),
        intermediate=int(description["intermediate_size"]),
    )
    tensors = widened(read_parts(folder), sizes, wide)
    out.mkdir(parents=True, exist_ok=True)
    given = {
        name: tensor.to(dtype) if tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
    write_parts(given, out, {"format": "pt"}, _MOST_BYTES)
    description.update(
        hidden_size=wide.hidden,
        num_attention_heads=wide.num_heads,
        num_key_value_heads=wide.num_heads,
        head_dim=wide.head_dim,
        intermediate_size=wide.intermediate,
        rms_norm_eps=description.get("rms_norm_eps", 1e-6) * narrow.hidden / wide.hidden,
        **told,
    )
    description.pop("target_sha256", None)  # the widened target is another
    (out / "config.json").write_text(dumps(description, indent=1))
