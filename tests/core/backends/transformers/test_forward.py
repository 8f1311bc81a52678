"""transformers' module behind the seam of our own forward."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from core.backends.transformers.forward import TransformersForward
from core.backends.transformers.module_forward import ModuleForward
from core.errors import ModelUnavailableError
from core.loading.forward import make_runner
from tests.tiny_models import tiny_model


def test_a_module_that_leaves_the_cache_aside_is_told() -> None:
    """As other versions of transformers do, which know it by another name."""
    module = tiny_model("codegen")
    runner = make_runner(module, 64)
    assert isinstance(runner.forward, TransformersForward)
    runner.begin([5, 17, 3], 20, bool)

    class Forgetful:
        config = module.config

        def __call__(self, input_ids: torch.Tensor, **unknown: Any) -> SimpleNamespace:
            return SimpleNamespace(logits=torch.zeros(1, input_ids.shape[1], 192))

        base_model = property(lambda self: self)
        get_input_embeddings = module.get_input_embeddings

    forward = ModuleForward(Forgetful(), "trees")
    runner = make_runner(module, 64)
    runner.reserve(20)
    with pytest.raises(ModelUnavailableError, match=r"transformers \S+ did not use the cache"):
        runner.forward_rows([7], [0], torch.ones(1, 1, dtype=torch.bool), forward=forward)


def test_token_ids_without_logits_are_never_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some modules leave out of their logits what fills the vocabulary up."""
    module = tiny_model("codegen")
    forward = ModuleForward(module, "trees")
    runner = make_runner(module, 64).sibling(forward)
    whole = module.forward

    def cut(*args: Any, **kwargs: Any) -> Any:
        output = whole(*args, **kwargs)
        output.logits = output.logits[..., :100]
        return output

    monkeypatch.setattr(module, "forward", cut)
    runner.reserve(20)
    logits = runner.forward_rows([7], [0], torch.ones(1, 1, dtype=torch.bool))
    assert logits is not None and logits.shape == (1, 192)
    probs = (logits / 0.01).softmax(dim=-1)
    assert probs[0, 100:].sum() == 0.0 and probs.isfinite().all()
