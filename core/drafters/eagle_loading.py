"""Reads an EAGLE head's folder by its description, checked against the target tensor by tensor."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from core.backends.cpu.forward import CpuForward, cpu_reason
from core.backends.torch.forward import RotaryTable, TorchForward
from core.backends.torch.linear import DenseLinear, Embedding, Linear
from core.backends.torch.weights import LayerStack, LayerWeights
from core.drafters.eagle_description import (
    HIDDEN_NORM,
    MASK_HIDDEN,
    HeadDescription,
    describe_head,
    plain_name,
)
from core.drafters.eagle_forward import EagleForward
from core.drafters.eagle_head import read_parts
from core.drafters.eagle_weights import HeadWeights, MaskRow, TargetNorm, fused
from core.errors import DrafterUnavailableError
from core.families.description import Description
from core.families.tensors import layer_tensors
from core.loading.loading import LoadedModel
from core.loading.weight_loading import Placement, Reader
from core.models.model_config import model_config_from
from core.models.weight_files import read_json_object

# Of training, or computed anew.
_NOT_READ = ("t2d", "verifier_lm_head.weight", "verifier_norm.weight")
_NOT_READ_ENDS = ("rotary_emb.inv_freq",)
_QUERIES = ("q", "k", "v")


def load_head(folder: Path, target: LoadedModel, forward: TorchForward) -> EagleForward:
    """The head in a folder for a target that our own forward computes.

    Raises DrafterUnavailableError for a folder without a head, for another target's head, for tensors
    of other sizes, and for what a head says or holds that is not computed here.
    """
    assert target.model_config is not None, "its forward is our own"
    config = _config(folder)
    wanted = config.get("target_sha256")
    if wanted not in (None, target.source_key):
        raise DrafterUnavailableError(
            f"the EAGLE head in {folder.name} was trained for another target than "
            f"{target.identity.name}; give the head of this target, or train one with "
            "core.train.train_eagle."
        )
    if (folder / "hf_quant_config.json").exists():
        raise _refused(folder, "is quantized; give one in 16 or 32 bits")
    tensors = read_parts(folder)
    if not any(plain_name(name) == "fc.weight" for name in tensors):
        raise DrafterUnavailableError(
            f"{folder} holds no EAGLE head; give a folder with its safetensors files or "
            "pytorch_model.bin."
        )
    shape = forward.shape
    found = describe_head(
        config, tensors, shape.num_layers, lambda reason: _refused(folder, reason)
    )
    weights = _Reader(folder, tensors, target, forward, found).weights()
    vocab_size = shape.vocab_size if weights.target_ids is None else len(weights.target_ids)
    own = replace(found.described.architecture, vocab_size=vocab_size)
    if weights.stack.head is forward.stack.head:
        own = replace(own, logit_scale=shape.logit_scale, logit_cap=shape.logit_cap)
    rotations = model_config_from(found.described, frozenset()).rotations
    rotary = RotaryTable(rotations, target.row_dtype, target.device)
    on_cpu = None
    if isinstance(forward, CpuForward) and weights.is_usual:
        on_cpu = CpuForward(
            own, weights.stack, rotary, forward.kernels, forward.made, weights.state_norm
        )
        on_cpu = on_cpu if cpu_reason(on_cpu) is None else None
    return EagleForward(own, weights, rotary, on_cpu)


def _refused(folder: Path, reason: str) -> DrafterUnavailableError:
    return DrafterUnavailableError(f"the EAGLE head in {folder.name} {reason}; give another head.")


def _config(folder: Path) -> dict[str, Any]:
    try:
        return read_json_object(folder / "config.json")
    except OSError as error:
        raise DrafterUnavailableError(
            f"{folder} has no config.json; give a folder with an EAGLE head."
        ) from error
    except (ValueError, RecursionError) as error:
        raise DrafterUnavailableError(
            f"the EAGLE head in {folder.name} cannot be read: {error}; give a whole folder."
        ) from error


class _Reader:
    """Takes tensors by name, with their sizes checked; what nobody takes is refused."""

    def __init__(
        self,
        folder: Path,
        tensors: dict[str, torch.Tensor],
        target: LoadedModel,
        forward: TorchForward,
        found: HeadDescription,
    ):
        self._folder = folder
        self._target = target
        self._target_stack, self._target_shape = forward.stack, forward.shape
        self._target_hidden = int(forward.stack.final_norm.shape[0])
        self._found = found
        self._hidden = found.described.hidden_size
        self._left: dict[str, torch.Tensor] = {}
        self._num_bytes = 0
        for name, tensor in tensors.items():
            plain = plain_name(name)
            if plain in self._left:
                raise _refused(folder, f"holds {plain} twice")
            self._left[plain] = tensor

    def weights(self) -> HeadWeights:
        """The whole head."""
        state_layers = self._found.state_layers
        if self._found.target_size not in (None, self._target_hidden):
            raise self._misfit("its config.json", f"target_hidden_size {self._found.target_size}")
        made = self._eagle1() if state_layers is None else self._eagle3(state_layers)
        for name in self._left:
            if name not in _NOT_READ and not name.endswith(_NOT_READ_ENDS):
                raise _refused(self._folder, f"holds {name}, which is not known here")
        return replace(made, num_bytes=self._num_bytes)

    def _eagle3(self, state_layers: tuple[int, ...]) -> HeadWeights:
        hidden, width = self._hidden, len(state_layers) * self._target_hidden
        fuse_norms: tuple[torch.Tensor, ...] = ()
        if self._found.fuse_norm == "all":
            fuse_norms = (self._take("input_norm.weight", width),)
        elif self._found.fuse_norm == "each":
            fuse_norms = tuple(
                self._take(f"fc_norm.{index}.weight", self._target_hidden)
                for index in range(len(state_layers))
            )
        fuse = self._linear("fc", hidden, width)
        head, target_ids = self._output()
        stack = LayerStack(
            layers=self._layers(2 * hidden),
            embedding=self._embedding(),
            final_norm=self._take("norm.weight", hidden),
            head=head,
        )
        made = HeadWeights(
            stack=stack,
            fuse=fuse,
            state_norm=self._take(HIDDEN_NORM, hidden),
            target_ids=target_ids,
            state_layers=state_layers,
            hidden_size=hidden,
            target_size=self._target_hidden,
            fuse_norms=fuse_norms,
            residual_is_normed=self._found.residual_is_normed,
            made_is_normed=self._found.made_is_normed,
        )
        token_id = self._found.mask_token_id
        if token_id is None:
            return made
        states = self._take(MASK_HIDDEN, 1, 1, width).view(1, width)
        state = fused(made, states, self._found.described.architecture.norm_eps)[0]
        return replace(made, mask=MaskRow(token_id, state))

    def _eagle1(self) -> HeadWeights:
        hidden, target = self._hidden, self._target_stack
        if hidden != self._target_hidden:
            raise self._misfit("its config.json", f"hidden_size {hidden}")
        stack = LayerStack(
            layers=self._layers(hidden),
            embedding=self._embedding(),
            final_norm=target.final_norm,
            head=target.head,
        )
        return HeadWeights(
            stack=stack,
            fuse=self._linear("fc", hidden, 2 * hidden),
            state_norm=None,
            target_ids=None,
            state_layers=(self._target_shape.num_layers,),
            hidden_size=hidden,
            target_size=hidden,
            target_norm=TargetNorm(target.final_norm, self._target_shape.norm_eps),
        )

    def _output(self) -> tuple[Linear, torch.Tensor | None]:
        """The output layer, the target's where the head has none, and the target's id of each row."""
        if "lm_head.weight" not in self._left:
            if self._hidden != self._target_hidden or "d2t" in self._left:
                raise self._misfit("lm_head.weight", "nothing")
            return self._target_stack.head, None
        rows = self._take("lm_head.weight", None, self._hidden)
        if self._found.draft_vocab_size not in (None, len(rows)):
            raise self._misfit(
                "lm_head.weight",
                f"{len(rows)} rows and draft_vocab_size {self._found.draft_vocab_size}",
            )
        if "d2t" not in self._left:
            if len(rows) != self._target_shape.vocab_size:
                raise self._misfit("lm_head.weight", f"{len(rows)} outputs and no d2t")
            return DenseLinear(rows), None
        offsets = self._take("d2t", len(rows)).long()
        target_ids = offsets + torch.arange(len(rows), device=offsets.device)
        if int(target_ids.min()) < 0 or int(target_ids.max()) >= self._target_shape.vocab_size:
            raise self._misfit("d2t", "ids outside of the target's vocabulary")
        if len(set(target_ids.tolist())) < len(target_ids):
            raise self._misfit("d2t", "two rows for one id of the target")
        return DenseLinear(rows), target_ids

    def _embedding(self) -> Embedding:
        """The head's own, unless it is the target's."""
        table = self._target_stack.embedding
        if "embed_tokens.weight" not in self._left:
            if self._hidden != self._target_hidden:
                raise self._misfit("embed_tokens.weight", "nothing")
            return table
        num_bytes = self._num_bytes
        rows = self._take("embed_tokens.weight", None, self._hidden)
        if len(rows) < self._target_shape.vocab_size:
            raise self._misfit("embed_tokens.weight", f"{len(rows)} rows")
        ids = torch.arange(min(len(rows), table.out_features), device=rows.device)
        if self._hidden == self._target_hidden and torch.equal(table.rows(ids), rows[: len(ids)]):
            self._num_bytes = num_bytes
            return table
        return DenseLinear(rows)

    def _layers(self, first_width: int) -> tuple[LayerWeights, ...]:
        """The head's layers; the first reads rows of another width."""
        described = self._described()
        layers = []
        for index in range(described.architecture.num_layers):
            own = described
            if index == 0 and self._found.state_layers is None:
                norms = dict(described.family.norms)
                del norms["input_norm"]
                own = described._replace(family=described.family._replace(norms=norms))
            names = layer_tensors(own, index)
            taken = {
                vector.name: self._take(plain_name(vector.name), vector.size)
                for vector in names.vectors.values()
            }
            for part, linear in names.linears.items():
                width = first_width if index == 0 and part == "qkv" else linear.width
                for name, size in zip(linear.names, linear.sizes, strict=True):
                    taken[f"{name}.weight"] = self._take(plain_name(f"{name}.weight"), size, width)
                    if linear.has_bias:
                        taken[f"{name}.bias"] = self._take(plain_name(f"{name}.bias"), size)
            place = Placement(self._target.row_dtype, self._target.device, None)
            layers.append(Reader(taken, place, is_mapped=False).layer(own, index))
        return tuple(layers)

    def _described(self) -> Description:
        """With the biases that the first layer has, of which config.json tells in many ways."""
        described = self._found.described
        prefix = described.family.layer.format(0)
        names = {**described.family.attention, **described.family.feed_forward}
        biases = {
            part for part, name in names.items() if plain_name(f"{prefix}{name}.bias") in self._left
        }
        if biases & set(_QUERIES):
            biases |= set(_QUERIES)  # the one that lacks is told by its name
        return described._replace(biases=frozenset(biases))

    def _linear(self, name: str, size: int, width: int) -> DenseLinear:
        weight = self._take(f"{name}.weight", size, width)
        has_bias = f"{name}.bias" in self._left
        return DenseLinear(weight, self._take(f"{name}.bias", size) if has_bias else None)

    def _take(self, name: str, *sizes: int | None) -> torch.Tensor:
        """A tensor of these sizes, None for any, in the target's dtype on its device."""
        tensor = self._left.pop(name, None)
        if tensor is None:
            raise self._misfit(name, "nothing")
        fits = tensor.dim() == len(sizes) and all(
            size in (None, actual) for size, actual in zip(sizes, tensor.shape, strict=True)
        )
        if not fits:
            raise self._misfit(name, f"sizes {tuple(tensor.shape)}")
        is_number = tensor.dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16)
        if not is_number and name != "d2t":
            raise _refused(
                self._folder, f"holds {name} as {tensor.dtype}; it must be in 16 or 32 bits"
            )
        dtype = self._target.row_dtype if is_number else tensor.dtype
        placed = tensor.to(self._target.device, dtype)
        self._num_bytes += placed.nbytes
        return placed

    def _misfit(self, name: str, got: str) -> DrafterUnavailableError:
        return DrafterUnavailableError(
            f"the EAGLE head in {self._folder.name} does not fit {self._target.identity.name}: "
            f"{name} has {got}; give the head of this target."
        )
