"""Whether a model gives one text in every mode that it can run: greedy, sampled, and in a batch."""

from collections.abc import Iterator
from typing import Any

import torch
from transformers import AutoModelForCausalLM, GenerationConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from core.backends.transformers.small_config import small_configs
from core.config import RunConfig
from core.decoding.run_start import Prompt
from core.engine import Engine
from core.trace.events import RunFailed
from core.trace.file import Trace
from tests.core.models.folders import NUM_TOKENS, PROMPT
from tests.tiny_folder import byte_tokenizer

GREEDY = {"do_sample": False}
SAMPLED = {"do_sample": True, "temperature": 0.8, "top_k": 50, "top_p": 0.95, "seed": 5}
# Without a measured cost, so that every step drafts whatever it costs.
_NGRAM = {"fixed_size": True, "num_nodes": 6, "depth": 4, "branching": 2}
_MODEL = {"fixed_size": True, "depth": 3, "branching": 1}
_MOST_PARAMETERS = 150_000_000
# Numbers without which a type makes no model, where its defaults leave them out.
_MISSING = {
    "num_experts_per_tok": 2, "n_routed_experts": 8, "n_shared_experts": 1, "head_dim": 64,
    "moe_intermediate_size": 64, "num_key_value_heads": 4, "attn_layer_indices": [1],
}  # fmt: skip


class NoModelError(Exception):
    """No small model can be made of a type's default configuration."""


def small_configuration(kind: str) -> Any:
    """The configuration of a small model of a type; raises NoModelError."""
    reason: Exception | None = None
    for config in _configurations(kind):
        try:
            text = config.get_text_config()
            for key in [key for key in vars(text) if "vocab_size" in key]:
                setattr(text, key, 192)
            with torch.device("meta"):
                empty: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
            if sum(parameter.numel() for parameter in empty.parameters()) <= _MOST_PARAMETERS:
                random_module(config)(input_ids=torch.tensor([[5, 7]]))
                return config
        except Exception as error:  # modules break in their own ways
            reason = error
    raise NoModelError(_first_line(reason) if reason else "it cannot be made small")


def _configurations(kind: str) -> Iterator[Any]:
    try:
        config = CONFIG_MAPPING[kind]()
        text = config.get_text_config()
    except Exception as error:
        raise NoModelError(_first_line(error)) from error
    for key, number in _MISSING.items():
        if vars(text).get(key, number) is None:
            setattr(text, key, number)
    yield from small_configs(config)
    kinds = getattr(text, "layer_types", ())
    if (
        kinds is None or len(set(kinds)) == 1
    ):  # where others are needed, and none are there by default
        text.layer_types = [(kinds or ["conv"])[0], "full_attention"] * (
            text.num_hidden_layers // 2
        )
        yield from small_configs(config)


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def random_module(config: Any) -> Any:
    """With weights large enough that its logits differ clearly between contexts."""
    torch.manual_seed(0)
    module: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    for parameter in module.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=min(0.15, 1.2 * parameter.shape[-1] ** -0.5))
        else:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    module.generation_config = GenerationConfig()  # some types forbid or force tokens in theirs
    return module.eval().requires_grad_(False)


def check_every_mode(engine: Engine, expected: list[int], other: str) -> None:
    """Fails where a mode gives another text than `expected`, the model's own greedy one, or where
    sampled texts or those of a batch differ between modes.

    `other` is the folder of a draft model that knows nothing, so that nearly all is refused; the
    target itself is one of which nothing is.
    """
    name = engine.target.identity.name
    modes: dict[str, dict[str, Any]] = {
        "naive": {"mode": "naive"},
        "ngram": {"mode": "ngram", "drafter": _NGRAM},
        "its own draft": {"mode": "sd-classic", "draft": name, "drafter": _MODEL},
        "another's draft": {"mode": "sd-classic", "draft": other, "drafter": _MODEL},
    }
    prompt = Prompt(PROMPT, byte_tokenizer()(PROMPT).input_ids)
    shorter = Prompt(PROMPT[:20], byte_tokenizer()(PROMPT[:20]).input_ids)
    for sampling in (GREEDY, SAMPLED):
        runs = [(prompt, _config(name, sampling, settings)) for settings in modes.values()]
        alone = [list(engine.run(*run)) for run in runs]
        texts = dict(zip(modes, map(_ids, alone), strict=True))
        plain = expected if sampling is GREEDY else texts["naive"]
        assert texts == dict.fromkeys(modes, plain)
        runs.insert(1, (shorter, runs[0][1]))
        together: list[list[Any]] = [[] for _ in runs]
        for index, event in engine.run_batch(runs, 3):
            together[index].append(event)
        ids = [_ids(events) for events in together]
        assert ids == [plain, _ids(list(engine.run(*runs[1]))), *[plain] * 3]


def _config(name: str, sampling: dict[str, Any], settings: dict[str, Any]) -> RunConfig:
    wanted = {"max_new_tokens": NUM_TOKENS, "target": name, "sampling": sampling}
    return RunConfig.from_dict({**wanted, **settings})


def _ids(events: list[Any]) -> list[int]:
    failed = [event for event in events if isinstance(event, RunFailed)]
    assert not failed, failed[0]
    return Trace(events).token_ids
