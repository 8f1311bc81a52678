"""Reads an EAGLE head's folder: our own and the published formats, checked against the target."""

import json
from pathlib import Path
from typing import Any

import torch

from core.backends.cpu.forward import CpuForward, cpu_reason
from core.backends.torch.forward import RotaryTable, TorchForward
from core.backends.torch.linear import DenseLinear
from core.backends.torch.weights import LayerStack, LayerWeights
from core.drafters.eagle_forward import EagleForward
from core.drafters.eagle_head import default_feature_layers, read_parts
from core.drafters.eagle_weights import HeadWeights
from core.errors import DrafterUnavailableError
from core.families.architecture import Architecture, default_rotation
from core.loading.loading import LoadedModel

# Of heads that do not say theirs.
_ROPE_THETA = 10_000.0
_EAGLE3, _EAGLE1 = "midlayer.", "layers.0."


def load_head(folder: Path, target: LoadedModel, forward: TorchForward) -> EagleForward:
    """The head in a folder for a target that our own forward computes.

    Raises DrafterUnavailableError for a folder without a head, for another target's head, and for
    tensors of other sizes.
    """
    assert target.model_config is not None, "its forward is our own"
    description = _description(folder)
    wanted = description.get("target_sha256")
    if wanted not in (None, target.source_key):
        raise DrafterUnavailableError(
            f"the EAGLE head in {folder.name} was trained for another target than "
            f"{target.identity.name}; give the head of this target, or train one with "
            "core.train.train_eagle."
        )
    tensors = read_parts(folder)
    reader = _Reader(folder, tensors, target, forward)
    weights = reader.eagle3(description) if "midlayer.self_attn.q_proj.weight" in tensors else None
    if weights is None and "layers.0.self_attn.q_proj.weight" in tensors:
        weights = reader.eagle1()
    if weights is None:
        raise DrafterUnavailableError(
            f"{folder} holds no EAGLE head; give a folder with its safetensors files or "
            "pytorch_model.bin."
        )
    shape = forward.shape
    own = Architecture(
        num_layers=1,
        num_heads=shape.num_heads,
        num_kv_heads=reader.num_kv_heads,
        head_dim=shape.head_dim,
        vocab_size=shape.vocab_size if weights.target_ids is None else len(weights.target_ids),
        norm_eps=float(description.get("rms_norm_eps", shape.norm_eps)),
        logit_scale=shape.logit_scale if weights.target_ids is None else 1.0,
        logit_cap=shape.logit_cap if weights.target_ids is None else None,
    )
    rotation = default_rotation(own.head_dim, float(description.get("rope_theta", _ROPE_THETA)))
    rotary = RotaryTable([rotation], target.row_dtype, target.device)
    on_cpu = None
    if isinstance(forward, CpuForward) and weights.state_norm is not None:
        on_cpu = CpuForward(
            own, weights.stack, rotary, forward.kernels, forward.made, weights.state_norm
        )
        on_cpu = on_cpu if cpu_reason(on_cpu) is None else None
    return EagleForward(own, weights, rotary, on_cpu)


def _description(folder: Path) -> dict[str, Any]:
    try:
        values: Any = json.loads((folder / "config.json").read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise DrafterUnavailableError(
            f"{folder} has no config.json; give a folder with an EAGLE head."
        ) from error
    except (ValueError, RecursionError) as error:
        raise DrafterUnavailableError(f"{folder}/config.json is broken ({error}).") from error
    return values if isinstance(values, dict) else {}


class _Reader:
    """Takes tensors by name, with their sizes checked."""

    def __init__(
        self, folder: Path, tensors: dict[str, Any], target: LoadedModel, forward: TorchForward
    ):
        self._folder = folder
        self._tensors = tensors
        self._target = target
        self._stack, self._shape = forward.stack, forward.shape
        self._hidden = int(forward.stack.final_norm.shape[0])
        self.num_kv_heads = 0

    def eagle3(self, description: dict[str, Any]) -> HeadWeights:
        """The form of EAGLE-3."""
        num_layers, hidden = self._shape.num_layers, self._hidden
        layers = tuple(
            description.get("eagle_aux_hidden_state_layer_ids")
            or default_feature_layers(num_layers)
        )
        if not all(isinstance(layer, int) and 0 <= layer <= num_layers for layer in layers):
            raise DrafterUnavailableError(
                f"the EAGLE head in {self._folder.name} reads layers {layers} and the target has "
                f"{num_layers}; give the head of this target."
            )
        vocab = self._take("lm_head.weight", None, hidden)
        offsets = self._take("d2t", len(vocab)) if "d2t" in self._tensors else None
        target_ids = None
        if offsets is not None:
            target_ids = offsets.long() + torch.arange(len(vocab), device=offsets.device)
            if int(target_ids.min()) < 0 or int(target_ids.max()) >= self._shape.vocab_size:
                raise self._misfit("d2t", "ids outside of the target's vocabulary")
        elif len(vocab) != self._shape.vocab_size:
            raise self._misfit("lm_head.weight", f"{len(vocab)} outputs and no d2t")
        stack = LayerStack(
            layers=(self._layer(_EAGLE3, 2 * hidden),),
            embedding=self._stack.embedding,
            final_norm=self._take("norm.weight", hidden),
            head=DenseLinear(vocab),
        )
        fuse = DenseLinear(self._take("fc.weight", hidden, len(layers) * hidden))
        state_norm = self._take("midlayer.hidden_norm.weight", hidden)
        return HeadWeights(stack, fuse, state_norm, None, target_ids, layers, hidden)

    def eagle1(self) -> HeadWeights:
        """The form of EAGLE-1 and -2."""
        hidden = self._hidden
        stack = LayerStack(
            layers=(self._layer(_EAGLE1, hidden),),
            embedding=self._stack.embedding,
            final_norm=self._stack.final_norm,
            head=self._stack.head,
        )
        bias = self._take("fc.bias", hidden) if "fc.bias" in self._tensors else None
        fuse = DenseLinear(self._take("fc.weight", hidden, 2 * hidden), bias)
        last = (self._shape.num_layers,)
        return HeadWeights(stack, fuse, None, self._stack.final_norm, None, last, hidden)

    def _layer(self, prefix: str, width: int) -> LayerWeights:
        shape, hidden = self._shape, self._hidden
        queries = shape.num_heads * shape.head_dim
        keys = self._take(f"{prefix}self_attn.k_proj.weight", None, width)
        self.num_kv_heads = len(keys) // shape.head_dim
        is_whole = self.num_kv_heads > 0 and len(keys) % shape.head_dim == 0
        if not is_whole or shape.num_heads % self.num_kv_heads:
            raise self._misfit(f"{prefix}self_attn.k_proj.weight", f"{len(keys)} outputs")
        qkv = [
            self._take(f"{prefix}self_attn.q_proj.weight", queries, width),
            keys,
            self._take(f"{prefix}self_attn.v_proj.weight", len(keys), width),
        ]
        gate = self._take(f"{prefix}mlp.gate_proj.weight", None, hidden)
        up = self._take(f"{prefix}mlp.up_proj.weight", len(gate), hidden)
        input_norm = f"{prefix}input_layernorm.weight"
        ffn_norm = self._take(f"{prefix}post_attention_layernorm.weight", hidden)
        return LayerWeights(
            cache_index=0,
            input_norm=self._take(input_norm, hidden) if input_norm in self._tensors else ffn_norm,
            qkv=DenseLinear(torch.cat(qkv)),
            q_norm=None,
            k_norm=None,
            o=DenseLinear(self._take(f"{prefix}self_attn.o_proj.weight", hidden, queries)),
            ffn_norm=ffn_norm,
            gate_up=DenseLinear(torch.cat([gate, up])),
            down=DenseLinear(self._take(f"{prefix}mlp.down_proj.weight", hidden, len(gate))),
        )

    def _take(self, name: str, *sizes: int | None) -> torch.Tensor:
        """A tensor of these sizes, None for any, in the target's dtype on its device."""
        tensor = self._tensors.get(name)
        if tensor is None:
            raise self._misfit(name, "nothing")
        fits = tensor.dim() == len(sizes) and all(
            size in (None, actual) for size, actual in zip(sizes, tensor.shape, strict=True)
        )
        if not fits:
            raise self._misfit(name, f"sizes {tuple(tensor.shape)}")
        dtype = self._target.row_dtype if tensor.is_floating_point() else tensor.dtype
        return tensor.to(self._target.device, dtype)  # type: ignore[no-any-return]

    def _misfit(self, name: str, got: str) -> DrafterUnavailableError:
        return DrafterUnavailableError(
            f"the EAGLE head in {self._folder.name} does not fit {self._target.identity.name}: "
            f"{name} has {got}; give the head of this target."
        )
