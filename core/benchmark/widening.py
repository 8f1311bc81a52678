"""A model placed inside the shapes of a larger one, which computes the same and costs more.

A function-preserving widening (Net2Net, Chen et al. 2016): the added dimensions, heads and layers
are zero, and what depends on a width is scaled for the larger one:

- RMS norms divide by the root of the mean over more dimensions, so that their weights shrink by
  sqrt(hidden / wide hidden), and their epsilon by the square of that.
- Attention divides by the root of a larger head size, so that queries grow by its inverse.
- A rotary frequency theta^(-2i / head_dim) of a small head is every r-th of a head r times as wide.

Drafters are widened with their target, so that drafting costs what it would at that size.
"""

from collections.abc import Iterator

import torch

from core.benchmark.wide_shapes import Narrow, Width
from core.errors import InvalidSettingError

Tensors = dict[str, torch.Tensor]


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
            "self_attn.o_proj": self.out,
            "post_attention_layernorm": self.norm,
            "mlp.gate_proj": self.up,
            "mlp.up_proj": self.up,
            "mlp.down_proj": self.down,
        }
        return {
            f"{prefix}{name}.weight": make(tensors[f"{prefix}{name}.weight"].float())
            for name, make in makers.items()
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
        "fc.weight": widener.rows(widener.inputs(fuse, num_features).T.contiguous()).T.contiguous(),
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
