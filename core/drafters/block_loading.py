"""Reads a block drafter's folder by its description, checked against the target tensor by tensor."""

from dataclasses import replace
from pathlib import Path

from core.backends.cpu.forward import CpuForward, cpu_reason
from core.backends.torch.forward import RotaryTable, TorchForward
from core.backends.torch.weights import LayerStack
from core.drafters.block_description import describe_block
from core.drafters.block_forward import BlockForward, BlockWeights
from core.drafters.head_tensors import HeadFolder, HeadTensors
from core.loading.loading import LoadedModel
from core.models.model_config import model_config_from


def load_block(path: Path, target: LoadedModel, forward: TorchForward) -> BlockForward:
    """The block drafter in a folder for a target that our own forward computes.

    Raises DrafterUnavailableError as `core.drafters.eagle_loading.load_head` does.
    """
    folder, shape, stack = HeadFolder("block drafter", path, target), forward.shape, forward.stack
    config, given = folder.config(), folder.tensors()
    found = describe_block(config, shape.num_layers, folder.refused)
    hidden, target_hidden = found.described.hidden_size, stack.final_norm.shape[-1]
    for name, told in (("hidden_size", hidden), ("target_hidden_size", found.target_size)):
        if told not in (None, target_hidden):
            raise folder.misfit("its config.json", f"{name} {told}")
    if found.mask_token_id >= stack.embedding.out_features:
        raise folder.misfit("its config.json", f"mask_token_id {found.mask_token_id}")
    if found.embedding_scale is None and shape.embedding_scale != 1.0:
        raise folder.refused(
            "does not say input_embedding_scale, and its target scales the embedding, which some "
            "trainers follow and others do not"
        )
    tensors = HeadTensors(folder, given)
    fuse = tensors.linear("fc", hidden, len(found.state_layers) * target_hidden)
    head, target_ids = tensors.output(hidden, found.draft_vocab_size, stack, shape.vocab_size)
    own_stack = LayerStack(
        layers=tensors.layers(found.described, hidden),
        embedding=stack.embedding,
        final_norm=tensors.take("norm.weight", hidden),
        head=head,
    )
    fused_norm = tensors.take("hidden_norm.weight", hidden)
    tensors.check_all_taken()
    weights = BlockWeights(
        stack=own_stack,
        fuse=fuse,
        fused_norm=fused_norm,
        target_ids=target_ids,
        state_layers=found.state_layers,
        target_size=target_hidden,
        block_size=found.block_size,
        mask_token_id=found.mask_token_id,
        num_bytes=tensors.num_bytes,
    )
    own = replace(
        found.described.architecture,
        vocab_size=shape.vocab_size if target_ids is None else len(target_ids),
        embedding_scale=1.0 if found.embedding_scale is None else float(found.embedding_scale),
    )
    rotations = model_config_from(found.described, frozenset()).rotations
    rotary = RotaryTable(rotations, target.row_dtype, target.device)
    on_cpu = None
    if isinstance(forward, CpuForward):
        on_cpu = CpuForward(own, own_stack, rotary, forward.kernels, forward.made)
        on_cpu = on_cpu if cpu_reason(on_cpu) is None else None
    return BlockForward(own, weights, rotary, on_cpu)
