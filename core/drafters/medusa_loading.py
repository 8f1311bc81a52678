"""Reads the heads of Medusa and Hydra as they are published, checked against the target.

Known are the files of FasterDecoding/Medusa, alone or within a whole model's checkpoint, vLLM's names
for them, and the files of zankner/Hydra.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch

from core.backends.torch.forward import TorchForward
from core.backends.torch.linear import Linear
from core.backends.torch.weights import LayerStack, LayerWeights
from core.drafters.eagle_weights import TargetNorm
from core.drafters.head_tensors import HeadFolder, HeadTensors
from core.drafters.medusa_heads import DepthHead, MedusaForward, MedusaWeights, ResBlock
from core.drafters.packing import packed_for, packed_layer
from core.errors import shown
from core.families.architecture import default_rotation
from core.loading.loading import LoadedModel

# Tensors of heads by their names, and what they are of one: a block's layers, or the output layer.
_NAMES = tuple(
    (re.compile(pattern), part)
    for pattern, part in (
        (
            r"(?:medusa_head\.)?(?P<head>\d+)\.(?P<block>\d+)\.linear\.(?P<kind>weight|bias)",
            "linear",
        ),
        (r"(?:medusa_head\.)?(?P<head>\d+)\.\d+\.(?P<kind>weight|bias)", "output"),
        (r"blocks\.(?P<head>\d+)\.layers\.(?P<block>\d+)\.(?P<kind>weight|bias)", "linear"),
        (r"lm_heads\.(?P<head>\d+)\.(?P<kind>weight|bias)", "output"),
        (r"hydra_mlp\.(?P<head>\d+)\.(?P<block>\d+)\.linear\.(?P<kind>weight|bias)", "linear"),
        (
            r"hydra_mlp\.(?P<head>\d+)\.(?P<block>\d+)\.res_connection\.(?P<kind>weight|bias)",
            "shortcut",
        ),
        (r"hydra_lm_head\.(?P<head>\d+)\.(?:1\.)?(?P<kind>weight|bias)", "output"),
    )
)
_PREFIX = "prefix_embeding_layer."
# Copies of the target's own embedding that its authors' code saves with the heads.
_NOT_READ = ("input_embed_fn.weight", f"{_PREFIX}embed_tokens.weight")
# A whole model's checkpoint, whose other tensors the target was made of.
_WITHIN, _OF_THE_TARGET = "medusa_head.", ("model.", "lm_head.")
_PICKLED = ("medusa_lm_head.pt", "hydra_lm_head.pt")
# How many heads there are is told by the tensors: uploaded files say other numbers.
_SETTINGS = {
    "grounded_heads", "hidden_size", "hidden_state_offset", "hydra_head_arch", "hydra_num_heads",
    "hydra_num_layers", "medusa_num_heads", "medusa_num_layers", "num_heads", "num_hidden_layers",
    "truncated_vocab_size", "vocab_size",
}  # fmt: skip
_WITHOUT_EFFECT = {
    "_name_or_path", "architectures", "base_model_name_or_path", "dropout_rate", "dtype", "max_paths",
    "medusa_fc_bias", "model_type", "topk", "torch_dtype", "transformers_version",
}  # fmt: skip
_LAYER_SETTINGS = ("hydra_num_layers", "medusa_num_layers")
_KINDS = ("mlp", "prefix-mlp")
_ROPE_THETA = 10_000.0


def load_medusa(path: Path, target: LoadedModel, forward: TorchForward) -> MedusaForward:
    """The heads in a folder for a target that our own forward computes.

    Raises DrafterUnavailableError as `core.drafters.eagle_loading.load_head` does.
    """
    folder = HeadFolder("set of Medusa heads", path, target)
    config = folder.config()
    names = _Names(folder, folder.read(_PICKLED, lambda name: not name.startswith(_OF_THE_TARGET)))
    _check_settings(config, folder, forward.shape.vocab_size, is_whole=names.is_whole)
    told = _described(config, names, folder, forward.shape.num_layers)
    weights = _Reader(folder, names, forward, told).weights()
    shape = replace(forward.shape, num_layers=len(weights.stack.layers))
    return MedusaForward(shape, weights, forward.rotary)


class _Names:
    """Tensors under names that all forms share: HEAD.BLOCK.linear, HEAD.output, norm, layers.0."""

    def __init__(self, folder: HeadFolder, tensors: Mapping[str, torch.Tensor]):
        self.is_whole = any(name.startswith(_WITHIN) for name in tensors)
        self.tensors: dict[str, torch.Tensor] = {}
        self.has_layer = False
        blocks: dict[int, set[int]] = {}
        for name, tensor in tensors.items():
            if name in _NOT_READ:
                continue
            plain = self._plain(name, blocks)
            if plain in self.tensors:
                raise folder.refused(f"holds {plain} twice")
            self.tensors[plain] = tensor
        if not blocks or set(blocks) != set(range(len(blocks))):
            raise folder.refused("holds no heads of Medusa or Hydra, or not all of them")
        self.biased = {name.split(".")[-2] for name in self.tensors if name.endswith(".bias")}
        # Layers that drop numbers while they are trained are counted as well.
        self.blocks = [sorted(blocks[head]) for head in range(len(blocks))]

    def _plain(self, name: str, blocks: dict[int, set[int]]) -> str:
        for pattern, part in _NAMES:
            found = pattern.fullmatch(name)
            if found is None:
                continue
            head, kind = int(found["head"]), found["kind"]
            if part == "output":
                return f"{head}.output.{kind}"
            blocks.setdefault(head, set()).add(int(found["block"]))
            return f"{head}.{int(found['block'])}.{part}.{kind}"
        self.has_layer = self.has_layer or name.startswith(_PREFIX)
        return name.removeprefix(_PREFIX)


class _Described(NamedTuple):
    """What config.json says of the heads."""

    reads_tokens: bool
    state_offset: int
    """From which layer the states are, counted from the last one's output."""


def _check_settings(
    config: Mapping[str, Any], folder: HeadFolder, vocab_size: int, *, is_whole: bool
) -> None:
    if config.get("quantization_config") is not None:
        raise folder.refused("is quantized; give one in 16 or 32 bits")
    for name, value in config.items():
        is_own = not is_whole or name.startswith(("medusa", "hydra"))
        is_off = value is None or value is False
        if is_own and not is_off and name not in _SETTINGS | _WITHOUT_EFFECT:
            raise folder.refused(f"sets {name} to {shown(value)}, which is not known here")
    told = config.get("truncated_vocab_size")
    if told not in (None, vocab_size):
        raise folder.refused(
            f"says truncated_vocab_size {shown(told)}, and drafts are of {vocab_size}"
        )


def _described(
    config: Mapping[str, Any], names: _Names, folder: HeadFolder, num_layers: int
) -> _Described:
    kind = config.get("hydra_head_arch", _KINDS[names.has_layer])
    if kind not in _KINDS:
        raise folder.refused(f"has heads of the kind {shown(kind)}, not {' or '.join(_KINDS)}")
    if names.has_layer != (kind == _KINDS[1]):
        raise folder.refused(f"has heads of the kind {kind}, which its tensors are not of")
    reads_tokens = config.get("grounded_heads") or False
    if not isinstance(reads_tokens, bool):
        raise folder.refused(
            f"has grounded_heads {shown(reads_tokens)}, which is neither true nor false"
        )
    if names.has_layer and not reads_tokens:
        raise folder.refused(
            "has a layer in front of heads that read no tokens, which its authors train with it and "
            "draft without it"
        )
    offset = config.get("hidden_state_offset") or 0
    if type(offset) is not int or not 0 <= offset <= num_layers:
        raise folder.refused(
            f"has hidden_state_offset {shown(offset)}, and the target {num_layers} layers"
        )
    for name in _LAYER_SETTINGS:
        count = config.get(name)
        if count is not None and any(len(blocks) != count for blocks in names.blocks):
            raise folder.refused(
                f"says {name} {shown(count)}, and its heads have other numbers of blocks"
            )
    return _Described(reads_tokens, offset)


class _Reader:
    def __init__(
        self,
        folder: HeadFolder,
        names: _Names,
        forward: TorchForward,
        told: _Described,
    ):
        self._folder = folder
        self._names = names
        self._tensors = HeadTensors(folder, names.tensors)
        self._forward = forward
        self._told = told
        self._hidden = forward.stack.final_norm.shape[-1]

    def weights(self) -> MedusaWeights:
        """All heads, and the layer in front of them."""
        shape, stack = self._forward.shape, self._forward.stack
        if self._told.reads_tokens and shape.embedding_scale != 1.0:
            raise self._folder.refused("reads embeddings, which this target scales")
        heads = tuple(self._head(head, blocks) for head, blocks in enumerate(self._names.blocks))
        layers, final_norm = self._layers() if self._names.has_layer else ((), stack.final_norm)
        self._tensors.check_all_taken()
        is_last = self._told.state_offset == 0
        return MedusaWeights(
            heads=heads,
            stack=LayerStack(layers, stack.embedding, final_norm, heads[0].output),
            state_layer=shape.num_layers - self._told.state_offset,
            target_norm=TargetNorm(stack.final_norm, shape.norm_eps) if is_last else None,
            reads_tokens=self._told.reads_tokens,
            hidden_size=self._hidden,
            num_bytes=self._tensors.num_bytes,
        )

    def _head(self, head: int, blocks: list[int]) -> DepthHead:
        hidden, vocab_size = self._hidden, self._forward.shape.vocab_size
        width = hidden * (head + 2) if self._told.reads_tokens else hidden
        made = []
        for block in blocks:
            name = f"{head}.{block}"
            shortcut = None
            if width != hidden:
                shortcut = self._linear(f"{name}.shortcut", hidden, width)
            made.append(ResBlock(self._linear(f"{name}.linear", hidden, width), shortcut))
            width = hidden
        return DepthHead(tuple(made), self._linear(f"{head}.output", vocab_size, hidden))

    def _layers(self) -> tuple[tuple[LayerWeights, ...], torch.Tensor]:
        """One as the target's own."""
        config = self._folder.target.model_config
        assert config is not None, "our own forward computes it"
        described = config.described
        if described.family.model_type != "llama":
            raise self._folder.refused(
                f"has a layer of Llama's, and the target is of the type {described.family.model_type}"
            )
        usual = default_rotation(described.architecture.head_dim, _ROPE_THETA).inv_freq
        if any(not torch.equal(rotation.inv_freq, usual) for rotation in config.rotations):
            raise self._folder.refused(
                f"has a layer that rotates by a base of {_ROPE_THETA:g}, as its authors' code always "
                "does, and the target rotates otherwise"
            )
        (layer,) = self._tensors.layers(described.of_layer(0), self._hidden)
        return (packed_layer(self._forward, layer),), self._tensors.take(
            "norm.weight", self._hidden
        )

    def _linear(self, name: str, size: int, width: int) -> Linear:
        """With a bias where such layers of all heads have one."""
        if name.rpartition(".")[2] in self._names.biased and f"{name}.bias" not in self._tensors:
            raise self._folder.misfit(f"{name}.bias", "nothing")
        return packed_for(self._forward, self._tensors.linear(name, size, width))
