"""Reads an EAGLE head by its description, checked against the target tensor by tensor."""

from dataclasses import replace
from pathlib import Path

import torch

from core.backends.cpu.forward import CpuForward, cpu_reason
from core.backends.torch.forward import RotaryTable, TorchForward
from core.backends.torch.linear import DenseLinear, Embedding
from core.backends.torch.weights import LayerStack
from core.drafters.eagle_description import HIDDEN_NORM, MASK_HIDDEN, HeadDescription, describe_head
from core.drafters.eagle_forward import EagleForward
from core.drafters.eagle_gguf import is_head_file, read_head_file
from core.drafters.eagle_weights import HeadWeights, MaskRow, TargetNorm, fused
from core.drafters.head_tensors import HeadFolder, HeadTensors
from core.drafters.packing import packed_for
from core.loading.loading import LoadedModel
from core.models.model_config import model_config_from


def load_head(path: Path, target: LoadedModel, forward: TorchForward) -> EagleForward:
    """The head in a folder or a GGUF file, for a target that our own forward computes.

    Raises DrafterUnavailableError for a folder without a head, for another target's head, for tensors
    of other sizes, and for what a head says or holds that is not computed here.
    """
    folder, shape = HeadFolder("EAGLE head", path, target), forward.shape
    is_file = is_head_file(path)
    config, tensors = read_head_file(folder) if is_file else (folder.config(), folder.tensors())
    found = describe_head(config, tensors, shape.num_layers, folder.refused)
    weights = _Reader(folder, HeadTensors(folder, tensors), forward, found).weights()
    vocab_size = shape.vocab_size if weights.target_ids is None else len(weights.target_ids)
    own = replace(found.described.architecture, vocab_size=vocab_size)
    if weights.stack.head is forward.stack.head:
        own = replace(own, logit_scale=shape.logit_scale, logit_cap=shape.logit_cap)
    rotations = model_config_from(found.described, frozenset()).rotations
    rotary = RotaryTable(rotations, target.row_dtype, target.device)
    if not isinstance(forward, CpuForward):
        return EagleForward(own, weights, rotary)
    weights = replace(weights, fuse=packed_for(forward, weights.fuse))
    on_cpu = CpuForward(
        own,
        weights.stack,
        rotary,
        forward.kernels,
        state_norm=weights.state_norm,
        rounds_weights=True,
    )
    if weights.is_usual and cpu_reason(on_cpu) is None:
        return EagleForward(own, weights, rotary, on_cpu)
    return EagleForward(own, weights, rotary)


class _Reader:
    def __init__(
        self,
        folder: HeadFolder,
        tensors: HeadTensors,
        forward: TorchForward,
        found: HeadDescription,
    ):
        self._folder = folder
        self._tensors = tensors
        self._target_stack, self._target_shape = forward.stack, forward.shape
        self._target_hidden = forward.stack.final_norm.shape[-1]
        self._found = found
        self._hidden = found.described.hidden_size

    def weights(self) -> HeadWeights:
        """The whole head."""
        state_layers = self._found.state_layers
        if self._found.target_size not in (None, self._target_hidden):
            got = f"target_hidden_size {self._found.target_size}"
            raise self._folder.misfit("its config.json", got)
        made = self._eagle1() if state_layers is None else self._eagle3(state_layers)
        self._tensors.check_all_taken()
        return replace(made, num_bytes=self._tensors.num_bytes)

    def _eagle3(self, state_layers: tuple[int, ...]) -> HeadWeights:
        take, hidden = self._tensors.take, self._hidden
        width = len(state_layers) * self._target_hidden
        fuse_norms: tuple[torch.Tensor, ...] = ()
        if self._found.fuse_norm == "all":
            fuse_norms = (take("input_norm.weight", width),)
        elif self._found.fuse_norm == "each":
            fuse_norms = tuple(
                take(f"fc_norm.{index}.weight", self._target_hidden)
                for index in range(len(state_layers))
            )
        fuse = self._tensors.linear("fc", hidden, width)
        head, target_ids = self._tensors.output(
            hidden, self._found.draft_vocab_size, self._target_stack, self._target_shape.vocab_size
        )
        stack = LayerStack(
            layers=self._tensors.layers(self._found.described, 2 * hidden),
            embedding=self._embedding(),
            final_norm=take("norm.weight", hidden),
            head=head,
        )
        made = HeadWeights(
            stack=stack,
            fuse=fuse,
            state_norm=take(HIDDEN_NORM, hidden),
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
        states = take(MASK_HIDDEN, 1, 1, width).view(1, width)
        state = fused(made, states, self._found.described.architecture.norm_eps)[0]
        return replace(made, mask=MaskRow(token_id, state))

    def _eagle1(self) -> HeadWeights:
        hidden, target = self._hidden, self._target_stack
        if hidden != self._target_hidden:
            raise self._folder.misfit("its config.json", f"hidden_size {hidden}")
        stack = LayerStack(
            layers=self._tensors.layers(self._found.described, hidden, first_is_normed=False),
            embedding=self._embedding(),
            final_norm=target.final_norm,
            head=target.head,
        )
        return HeadWeights(
            stack=stack,
            fuse=self._tensors.linear("fc", hidden, 2 * hidden),
            state_norm=None,
            target_ids=None,
            state_layers=(self._target_shape.num_layers,),
            hidden_size=hidden,
            target_size=hidden,
            target_norm=TargetNorm(target.final_norm, self._target_shape.norm_eps),
        )

    def _embedding(self) -> Embedding:
        """The head's own, unless it is the target's."""
        table, name = self._target_stack.embedding, "embed_tokens.weight"
        if name not in self._tensors:
            if self._hidden != self._target_hidden:
                raise self._folder.misfit(name, "nothing")
            return table
        num_bytes = self._tensors.num_bytes
        rows = self._tensors.take(name, None, self._hidden)
        if len(rows) < self._target_shape.vocab_size:
            raise self._folder.misfit(name, f"{len(rows)} rows")
        ids = torch.arange(min(len(rows), table.out_features), device=rows.device)
        if self._hidden == self._target_hidden and torch.equal(table.rows(ids), rows[: len(ids)]):
            self._tensors.num_bytes = num_bytes
            return table
        return DenseLinear(rows)
