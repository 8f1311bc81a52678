"""Tries on a small copy of an architecture whether transformers' module computes draft trees rightly.

A module may look at where a token stands in the cache instead of at its position, read a mask in its
own way, or keep a state that no branch can share. The copy has the settings of the model with few
and narrow layers and short windows, so that a short prompt shows all of that before any weight is read.
"""

import copy
from collections.abc import Sequence
from typing import Any

import torch

from core.backends.runner import ModelRunner
from core.backends.transformers.forward import TransformersForward, transformers_shape
from core.backends.transformers.layer_masks import KINDS
from core.errors import ModelUnavailableError
from core.trees.tree import DraftTree

_NUM_HEADS = 4
_VOCAB_SIZE = 96
# Shorter than the prompt, so that windows hide something; longer than the trees are deep.
_WINDOW = 6
_PROMPT_LENGTH = 23
# Settings that only make a model large, and the most that the copy has of each.
_MOST = {
    "intermediate_size": 64, "moe_intermediate_size": 64, "shared_expert_intermediate_size": 64,
    "ffn_dim": 64, "ffn_hidden_size": 64, "n_inner": 64, "num_experts": 8, "num_local_experts": 8,
    "n_routed_experts": 8, "num_experts_per_tok": 2, "vocab_size": _VOCAB_SIZE,
    "sliding_window": _WINDOW, "attention_chunk_size": _WINDOW, "window_size": _WINDOW,
    "floor_scale": _WINDOW,
}  # fmt: skip
_MOST_PARAMETERS = 150_000_000
# Other orders of summation change float32 by a few millionths.
_MOST_DIFFERENCE = 2e-4


def check_twin(name: str, config: Any) -> None:
    """Raises ModelUnavailableError where trees of the model would be computed wrongly, or not at all;
    `config` is that of transformers."""
    reason = _reason_against(config)
    if reason is not None:
        raise ModelUnavailableError(
            f"{name} is of the type {config.model_type}, and {reason}; give a model of another type, "
            "such as Llama, Mistral, Qwen, Gemma or Phi."
        )


def _reason_against(config: Any) -> str | None:
    try:
        kinds = getattr(config.get_text_config(), "layer_types", None) or ()
        if not set(kinds) <= set(KINDS):
            return f"draft trees cannot branch in its layers of the kind {min(set(kinds) - set(KINDS))}"
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            torch.manual_seed(0)
            difference = _difference(_module(twin_config(config)))
    except Exception as error:  # modules break in their own ways
        return f"a small copy of it computes no draft tree ({type(error).__name__})"
    if not difference <= _MOST_DIFFERENCE:
        return "its module computes a draft tree otherwise than the same tokens in a row"
    return None


def twin_config(config: Any) -> Any:
    """The configuration of a small copy."""
    config = copy.deepcopy(config)
    text = config.get_text_config()
    num_layers = text.num_hidden_layers
    kinds = getattr(text, "layer_types", None) or ()
    # As many as show every kind of layer.
    fewer = max([2, *(kinds.index(kind) + 1 for kind in set(kinds))])
    for key, value in list(vars(text).items()):
        if isinstance(value, list) and len(value) == num_layers:
            setattr(text, key, value[:fewer])
        elif type(value) is int and key in _MOST:
            setattr(text, key, min(value, _MOST[key]))
        elif type(value) is int and key.endswith("token_id"):
            setattr(text, key, min(value, _VOCAB_SIZE - 1))
    num_heads, num_kv_heads = text.num_attention_heads, getattr(text, "num_key_value_heads", None)
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // num_heads
    if num_kv_heads is not None:
        text.num_key_value_heads = {1: 1, num_heads: _NUM_HEADS}.get(num_kv_heads, _NUM_HEADS // 2)
    text.num_hidden_layers, text.num_attention_heads = fewer, _NUM_HEADS
    text.hidden_size = _NUM_HEADS * head_dim
    return config


def _module(config: Any) -> Any:
    """A module with random weights, large enough that its logits differ between contexts."""
    from transformers import AutoModelForCausalLM

    auto: Any = AutoModelForCausalLM
    with torch.device("meta"):
        empty = auto.from_config(copy.deepcopy(config))
        if sum(parameter.numel() for parameter in empty.parameters()) > _MOST_PARAMETERS:
            raise ValueError("the copy is not small")
    module = auto.from_config(config, dtype=torch.float32)
    for parameter in module.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=1.2 * parameter.shape[-1] ** -0.5)
        else:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    return module.eval()


def _difference(module: Any) -> float:
    """The largest relative error of a row of trees behind a prompt, and of one token alone."""
    ids = torch.randint(0, _VOCAB_SIZE, (64,)).tolist()
    runner = ModelRunner(
        TransformersForward(module),
        transformers_shape(module),
        len(ids),
        torch.float32,
        torch.device("cpu"),
    )
    committed = ids[: _PROMPT_LENGTH - 1]
    runner.begin(ids[:_PROMPT_LENGTH], len(ids), bool)
    fresh = iter(ids[_PROMPT_LENGTH - 1 :])
    largest = 0.0
    # Two trees, of which a path that is no beginning is kept, and a root alone.
    for parents, path in (((0, 0, 2, 2, 3), (2, 4)), ((0, 0, 2), (2,)), ((), ())):
        tree = DraftTree(next(fresh))
        for parent in parents:
            tree.add(parent, next(fresh), 1.0)
        rows = runner.tree_forward(tree)
        for node, row in enumerate(rows):
            tokens = [*committed, tree.root_token_id, *tree.path_token_ids(node)]
            largest = max(largest, _relative_error(row, _plain_logits(module, tokens)))
        runner.commit(list(path))
        committed += [tree.root_token_id, *(tree.token_ids[node] for node in path)]
    return largest


def _plain_logits(module: Any, token_ids: Sequence[int]) -> torch.Tensor:
    """After the last token, as transformers computes a text without a cache  # [vocab]."""
    logits: torch.Tensor = module(input_ids=torch.tensor([token_ids]), use_cache=False).logits
    return logits[0, -1]


def _relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:  # [vocab] both
    return float((got - expected).norm() / expected.norm())
