"""Layer skipping: a part of the target's own layers drafts on the target's KV cache.

Source: LayerSkip (Elhoushi et al. 2024) and Self-Speculative Decoding (Zhang et al. 2024), without
training: the layers come from a search (`core.drafters.layer_search`).
"""

from typing import Any

from core.backends.torch.forward import TorchForward
from core.drafters.base import CostOfRows
from core.drafters.context import DrafterContext
from core.drafters.layer_search import LayerSearch, LayerSet, subset
from core.drafters.self_draft import SelfDrafter, parts_reason
from core.drafters.tree_size import chain_speed
from core.errors import InvalidSettingError
from core.loading.fingerprint import model_key
from core.loading.loading import LoadedModel
from core.loading.prompts import chat_token_ids, raw_token_ids
from core.modes.layer_skip import LayerSkipSettings
from core.runtime.json_cache import load_json, save_json
from core.runtime.strict_json import dumps

_QUESTIONS = (
    "Explain how a bicycle stays upright.",
    "Write a short Python function that counts the words of a text.",
    "Give me a recipe with tomatoes and rice.",
)


def make_layer_skip(context: DrafterContext) -> SelfDrafter:
    """The drafter for a run; searches its layers where that was not done before.

    Raises InvalidSettingError for layers that the target does not have.
    """
    settings = context.config.drafter
    assert isinstance(settings, LayerSkipSettings)
    target_forward = context.runner.forward
    assert isinstance(target_forward, TorchForward), "unavailable_reason comes first"
    num_all = target_forward.shape.num_layers
    chosen = _layer_set(context, settings, num_all)
    forward = target_forward.with_stack(subset(target_forward.stack, chosen.layers))
    words = ("layer-skip", *map(str, chosen.layers))
    draft_cost = context.measure_cost(context.runner, forward, words)
    cost = context.measure_cost(context.runner, target_forward, ())
    return SelfDrafter(
        name="layer-skip",
        identity=_identity(context, chosen, forward, _note(chosen, settings, cost, draft_cost)),
        runner=context.runner,
        forward=forward,
        grower=context.grower(context.proposer(), None if settings.fixed_size else draft_cost),
    )


def reason_against(draft: str | None, target: LoadedModel) -> str | None:
    """See `core.modes.registry.Mode`."""
    return parts_reason("layer-skip", target)


def _layer_set(context: DrafterContext, settings: LayerSkipSettings, num_all: int) -> LayerSet:
    """The set that the settings name, or a searched one; kept on disk with its overlap."""
    named = parse_layers(settings.layers, num_all)
    num_layers = settings.num_layers or max(1, num_all // 2)
    if num_layers > num_all:
        raise InvalidSettingError(
            f"num_layers is {num_layers} and the target has {num_all} layers; give at most so many."
        )
    key = dumps([model_key(context.target), str(context.target.dtype), named, num_layers])
    folder = context.folder / "layer-sets"
    stored = load_json(folder, key)
    try:
        return LayerSet(tuple(map(int, stored["layers"])), float(stored["overlap"]))
    except (KeyError, TypeError, ValueError):
        pass  # not there yet, or broken: searched anew
    search = LayerSearch(context.runner, _prompts(context), context.progress)
    found = search.judge(named) if named else search.best_set(num_layers)
    save_json(folder, key, found._asdict())
    return found


def _prompts(context: DrafterContext) -> list[list[int]]:
    target = context.target
    if target.chat.template is None:
        return [raw_token_ids(target, question) for question in _QUESTIONS]
    return [
        chat_token_ids(target, [{"role": "user", "content": question}]) for question in _QUESTIONS
    ]


def parse_layers(words: tuple[str, ...], num_all: int) -> tuple[int, ...]:
    """Layer numbers from numbers and ranges such as 0-9, in order.

    Raises InvalidSettingError for anything else and for layers that are not there.
    """
    layers: set[int] = set()
    for word in words:
        first, dash, last = word.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise InvalidSettingError(
                f"layers has {word!r}; give numbers or ranges such as 0-9, separated by commas."
            )
        numbers = range(int(first), int(last if dash else first) + 1)
        if not numbers or numbers[-1] >= num_all:
            raise InvalidSettingError(
                f"layers has {word!r} and the target has the layers 0 to {num_all - 1}; give some "
                "of these."
            )
        layers.update(numbers)
    return tuple(sorted(layers))


def _note(
    chosen: LayerSet, settings: LayerSkipSettings, cost: CostOfRows, draft_cost: CostOfRows
) -> str:
    """Says honestly what is to be expected of the set."""
    speed = chain_speed(chosen.overlap, settings.depth, cost, draft_cost)
    verdict = "faster" if speed > 1.0 else "slower"
    return (
        f"overlap with the target {chosen.overlap:.2f} on calibration text; expected {speed:.2f} "
        f"times the speed of plain decoding, so {verdict}"
        + ("" if speed > 1.0 else ": drafts are made only where they are likely to pay")
    )


def _identity(
    context: DrafterContext, chosen: LayerSet, forward: TorchForward, note: str
) -> dict[str, Any]:
    num_all, num_kept = context.runner.shape.num_layers, len(chosen.layers)
    return {
        "name": f"{num_kept} of {num_all} layers of {context.target.identity.name}",
        "method": "layer-skip",
        "layers": list(chosen.layers),
        "kernel": ", ".join(forward.kernel_names),
        # The target holds them anyway.
        "num_bytes": 0,
        "note": note,
    }
