"""Reads a block drafter's folder by its description, checked against the target tensor by tensor."""

from dataclasses import replace
from pathlib import Path

from core.backends.cpu.forward import CpuForward, cpu_reason
from core.backends.torch.forward import RotaryTable, TorchForward
from core.backends.torch.linear import Linear
from core.backends.torch.weights import LayerStack
from core.drafters.block_description import BlockDescription, describe_block
from core.drafters.block_forward import BlockForward, BlockWeights, context_of
from core.drafters.block_heads import CONFIDENCE, JOINTS, MARKOV, ConfidenceHead, MarkovHead
from core.drafters.head_tensors import HeadFolder, HeadTensors
from core.drafters.packing import packed_for, packed_layer
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
    head, target_ids = tensors.output(
        hidden, found.draft_vocab_size, stack, shape.vocab_size, may_cut=True
    )
    own_stack = LayerStack(
        layers=tensors.layers(found.described, hidden),
        embedding=stack.embedding,
        final_norm=tensors.take("norm.weight", hidden),
        head=head,
    )
    fused_norm = tensors.take("hidden_norm.weight", hidden)
    markov = _markov(tensors, found, shape.vocab_size, own_stack)
    confidence = _confidence(tensors, found)
    tensors.check_all_taken()
    weights = BlockWeights(
        stack=own_stack,
        fuse=fuse,
        fused_norm=fused_norm,
        target_ids=target_ids,
        state_layers=found.state_layers,
        target_size=target_hidden,
        block_size=found.block_size,
        from_root=found.from_root,
        mask_token_id=found.mask_token_id,
        markov=markov,
        confidence=confidence,
        num_bytes=tensors.num_bytes,
    )
    own = replace(
        found.described.architecture,
        vocab_size=shape.vocab_size if target_ids is None else len(target_ids),
        embedding_scale=1.0 if found.embedding_scale is None else float(found.embedding_scale),
    )
    context: Linear = context_of(own_stack.layers, own.num_heads * own.head_dim)
    rotations = model_config_from(found.described, frozenset()).rotations
    rotary = RotaryTable(rotations, target.row_dtype, target.device)
    if isinstance(forward, CpuForward):
        # The target's embedding is read as the target has it.
        on_cpu = CpuForward(own, own_stack, rotary, forward.kernels, forward.made)
        if cpu_reason(on_cpu) is None:
            weights = _in_bytes(weights, forward)
            context = packed_for(forward, context)
            return BlockForward(own, weights, context, rotary, on_cpu.with_stack(weights.stack))
    return BlockForward(own, weights, context, rotary)


def _in_bytes(weights: BlockWeights, forward: CpuForward) -> BlockWeights:
    """With the drafter's own layers rounded to 8 bits where the kernels read them.

    Context rows and blocks go through the same ones.
    """
    stack, markov = weights.stack, weights.markov
    layers = tuple(packed_layer(forward, layer) for layer in stack.layers)
    # Without rows of its own the drafter reads the target's output layer.
    head = stack.head if weights.target_ids is None else packed_for(forward, stack.head)
    if markov is not None:
        joint = None if markov.joint is None else packed_for(forward, markov.joint)
        markov = replace(markov, joint=joint, output=packed_for(forward, markov.output))
    return replace(
        weights,
        stack=replace(stack, layers=layers, head=head),
        fuse=packed_for(forward, weights.fuse),
        markov=markov,
    )


def _markov(
    tensors: HeadTensors, found: BlockDescription, vocab_size: int, stack: LayerStack
) -> MarkovHead | None:
    heads, hidden = found.heads, found.described.hidden_size
    if heads.markov is None:
        return None
    rank, joint = heads.markov_rank, None
    if heads.markov in JOINTS:
        name, made, read = JOINTS[heads.markov]
        joint = tensors.linear(f"{MARKOV}.{name}", made * rank, hidden + read * rank)
    return MarkovHead(
        kind=heads.markov,
        table=tensors.take(f"{MARKOV}.markov_w1.weight", vocab_size, rank),
        joint=joint,
        output=tensors.linear(f"{MARKOV}.markov_w2", stack.head.out_features, rank),
    )


def _confidence(tensors: HeadTensors, found: BlockDescription) -> ConfidenceHead | None:
    heads = found.heads
    if not heads.has_confidence:
        return None
    width = found.described.hidden_size
    width += heads.markov_rank if heads.confidence_reads_markov else 0
    return ConfidenceHead(tensors.linear(CONFIDENCE, 1, width), heads.confidence_reads_markov)
