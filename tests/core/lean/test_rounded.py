"""Products that round their rows to 8 bits: near the unrounded ones, and each row for itself."""

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from core.lean.native.forward import NativeForward
from core.lean.native.library import Kernels
from core.models.forward import make_verifier
from core.quant.stack import quantized_stack
from core.tree import DraftTree
from core.verifier import Verifier

PROMPT = [5, 17, 99, 3, 42, 42, 7]
never = bool  # called without arguments it is False


@pytest.fixture(scope="module")
def module() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=192, hidden_size=128, intermediate_size=256, num_hidden_layers=3,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
    )  # fmt: skip
    return LlamaForCausalLM(config).eval().requires_grad_(False)


def quantized(
    module: LlamaForCausalLM, kernels: Kernels, *, is_draft: bool, group_size: int = 64
) -> Verifier:
    verifier = make_verifier(module, 256, kernels=kernels)
    assert isinstance(verifier.forward, NativeForward)
    stack = quantized_stack(
        verifier.forward.stack, bits=4, group_size=group_size, kernels=kernels, is_draft=is_draft
    )
    return verifier.sibling(verifier.forward.with_stack(stack))


def chain(length: int) -> DraftTree:
    tree = DraftTree(PROMPT[-1])
    for node in range(length - 1):
        tree.add(node, 10 + node, 0.5)
    return tree


def logits_of(verifier: Verifier, length: int) -> torch.Tensor:
    verifier.begin(PROMPT, 100, never)
    return verifier.tree_forward(chain(length)).clone()


@pytest.mark.parametrize("group_size", [64, 128])
def test_rounding_moves_logits_little(
    module: LlamaForCausalLM, kernels: Kernels, group_size: int
) -> None:
    whole = quantized(module, kernels, is_draft=False, group_size=group_size)
    rounded = quantized(module, kernels, is_draft=True, group_size=group_size)
    assert isinstance(rounded.forward, NativeForward)
    assert rounded.forward.kernel_names == ["native int4, rows in 8 bits"]
    exact, near = logits_of(whole, 9), logits_of(rounded, 9)
    assert not torch.equal(exact, near), "else nothing was rounded"
    assert float(torch.cosine_similarity(exact, near, dim=-1).min()) > 0.99
    assert float((exact - near).abs().max()) < 0.1 * float(exact.abs().max())


def test_a_row_s_bits_do_not_change_with_the_rows_beside_it(
    module: LlamaForCausalLM, kernels: Kernels
) -> None:
    verifier = quantized(module, kernels, is_draft=True)
    widest = logits_of(verifier, 21)
    for length in (1, 2, 3, 4, 5, 8, 11, 16):
        assert torch.equal(logits_of(verifier, length), widest[:length])


def test_small_groups_are_not_rounded(module: LlamaForCausalLM, kernels: Kernels) -> None:
    small = quantized(module, kernels, is_draft=True, group_size=32)
    assert isinstance(small.forward, NativeForward)
    assert small.forward.kernel_names == ["native int4"]
