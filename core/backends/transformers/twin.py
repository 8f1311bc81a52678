"""Tries on a small copy of an architecture how transformers' module computes drafts rightly.

A module may look at where a token stands in the cache instead of at its position, read a mask in its
own way, or keep a state that no branch can share: such a one computes chains, as `generate` does. The
copy has the settings of the model with few and narrow layers and short windows, so that a short prompt
shows all of that before any weight is read.
"""

import copy
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from core.backends.runner import ModelRunner
from core.backends.transformers.module_forward import ModuleForward, Way
from core.backends.transformers.small_config import VOCAB_SIZE, WINDOW, small_configs
from core.errors import ModelUnavailableError
from core.families.architecture import Architecture
from core.trees.tree import DraftTree

_PROMPT_LENGTH = 3 * WINDOW + 5
_NUM_IDS = 64
_NUM_GENERATED = 4
_MOST_PARAMETERS = 150_000_000
# Other orders of summation change float32 by a few millionths.
_MOST_DIFFERENCE = 2e-4
# Drafts as the parents of their nodes, and the path that is kept of each: some of a tree's that are
# no beginning; of chains all, a part, and nothing, where the rest has to be taken back.
_TREES = (((0, 0, 2, 2, 3), (2, 4)), ((0, 0, 2), (2,)), ((), ()))
_CHAINS = (
    ((0, 1, 2, 3), (1, 2)), ((0, 1, 2), ()), ((), ()), ((), ()), ((0, 1), (1, 2)), ((0,), ()), ((), ()),
)  # fmt: skip
# Says where a model is and in what numbers, not what is computed.
_PLACE = ("_name_or_path", "dtype", "architectures", "transformers_version")


class Found(NamedTuple):
    """How a module computes drafts rightly, or why in no way."""

    way: Way
    reason_against: str | None = None


_found: dict[str, Found] = {}


def check_twin(name: str, config: Any) -> None:
    """Raises ModelUnavailableError where drafts of the model would be computed wrongly, or not at all;
    `config` is that of transformers, and `name` what the user calls the model."""
    reason = found_for(config).reason_against
    if reason is not None:
        raise ModelUnavailableError(
            f"{name} is of the type {config.model_type}, and {reason}; give a model of another type, "
            "such as Llama, Mistral, Qwen, Gemma or Phi."
        )


def found_for(config: Any) -> Found:
    """How the module of a configuration is to compute; tried once for each."""
    settings = {key: value for key, value in config.to_dict().items() if key not in _PLACE}
    key = repr(sorted(settings.items()))
    if key not in _found:
        with torch.random.fork_rng(devices=[]), torch.inference_mode():
            torch.manual_seed(0)
            _found[key] = _try(config)
    return _found[key]


def _try(config: Any) -> Found:
    reason: str | None = None
    for small in small_configs(config):
        try:
            module = _module(small)
            _plain_logits(module, [0])
        except Exception as error:  # modules break in their own ways
            reason = reason or f"a small copy of it computes nothing ({type(error).__name__})"
            continue
        for way in _ways(module):
            reason = _reason_against(module, way)
            if reason is None:
                return Found(way)
    return Found("chains", reason or "a small copy of it cannot be made")


def _ways(module: Any) -> Sequence[Way]:
    """Those that may be right, the fastest first."""
    from core.backends.transformers.cache import has_columns

    has_usual_cache = module._supports_default_dynamic_cache()
    chains: Sequence[Way] = ("chains", "tokens")
    return ("trees", *chains) if has_usual_cache and has_columns(module.config) else chains


def _reason_against(module: Any, way: Way) -> str | None:
    try:
        runner = _runner(module, way)
        difference = _difference(module, way, runner)
        is_generated = difference <= _MOST_DIFFERENCE and _is_generated(module, runner)
    except ModelUnavailableError:  # of our own forward: it found nothing
        return "its module hands out nothing with which a text can go on"
    except Exception as error:
        return f"a small copy of it computes no draft ({type(error).__name__})"
    if not difference <= _MOST_DIFFERENCE:
        return "its module computes a draft otherwise than the same tokens in one text"
    if not is_generated:
        return "transformers generates another text with it than it computes without a cache"
    return None


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


def _runner(module: Any, way: Way) -> ModelRunner:
    shape = Architecture(0, 0, 0, 0, VOCAB_SIZE, 0.0)
    forward = ModuleForward(module, way)
    return ModelRunner(forward, shape, _NUM_IDS, torch.float32, torch.device("cpu"))


def _is_generated(module: Any, runner: ModelRunner) -> bool:
    """Whether plain decoding gives the greedy text of transformers' own `generate`."""
    from transformers import GenerationConfig

    prompt = torch.randint(0, VOCAB_SIZE, (_PROMPT_LENGTH,)).tolist()
    text = prompt.copy()
    runner.begin(prompt, _NUM_IDS, bool)
    for _ in range(_NUM_GENERATED):
        text.append(int(runner.tree_forward(DraftTree(text[-1]))[0].argmax()))
        runner.commit([])
    # Alone: the types' own ones force and forbid tokens.
    module.generation_config = GenerationConfig(pad_token_id=0)  # type: ignore[no-untyped-call]
    given = torch.tensor([prompt])
    answer = module.generate(
        given,
        attention_mask=torch.ones_like(given),
        do_sample=False,
        max_new_tokens=_NUM_GENERATED,
    )
    return bool(answer[0].tolist() == text)


def _difference(module: Any, way: Way, runner: ModelRunner) -> float:
    """The largest relative error of a row of drafts behind a prompt."""
    ids = torch.randint(0, VOCAB_SIZE, (_NUM_IDS,)).tolist()
    committed = ids[: _PROMPT_LENGTH - 1]
    # In two pieces, for what one leaves behind the other must go on with.
    runner.begin(ids[: _PROMPT_LENGTH // 2], len(ids), bool)
    runner.begin(ids[:_PROMPT_LENGTH], len(ids), bool)
    fresh = iter(ids[_PROMPT_LENGTH - 1 :])
    largest = 0.0
    for parents, path in _TREES if way == "trees" else _CHAINS:
        tree = DraftTree(next(fresh))
        for parent in parents:
            tree.add(parent, next(fresh), 1.0)
        rows = runner.tree_forward(tree)
        for node in range(len(rows)):
            tokens = [*committed, tree.root_token_id, *tree.path_token_ids(node)]
            # Of a chain, the rows in front of the last one are in its text as well.
            nodes = [node] if way == "trees" else list(range(len(rows)))
            if nodes[-1] == node:
                expected = _plain_logits(module, tokens)[-len(nodes) :]
                known = rows[nodes, : expected.shape[-1]]
                largest = max(largest, _relative_error(known, expected))
        runner.commit(list(path))
        committed += [tree.root_token_id, *(tree.token_ids[node] for node in path)]
    return largest


def _plain_logits(module: Any, token_ids: Sequence[int]) -> torch.Tensor:
    """After each token, as transformers computes a text without a cache  # [tokens, vocab]."""
    logits: torch.Tensor = module(input_ids=torch.tensor([token_ids]), use_cache=False).logits
    return logits[0]


def _relative_error(got: torch.Tensor, expected: torch.Tensor) -> float:  # [rows, vocab] both
    return float(((got - expected).norm(dim=-1) / expected.norm(dim=-1)).max())
