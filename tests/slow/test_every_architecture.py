"""Every architecture that transformers knows gives its text in every mode, or is refused in a sentence.

The numbers of each default configuration are made small by the rule of `core.models.twin`.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from core.errors import ModelUnavailableError
from core.loading.loading import load_model
from core.models.quiet import quiet_transformers
from core.models.twin import twin_config
from tests.core.models.folders import ids_of, oracle_ids, save_module
from tests.core.models.test_architectures import random_module

pytestmark = pytest.mark.slow


def small_module(kind: str) -> Any:
    """A small random model of a type; skips a type whose defaults make no model."""
    quiet_transformers()
    try:
        config = twin_config(CONFIG_MAPPING[kind]())
        config.get_text_config().vocab_size = 192
        with torch.device("meta"):
            empty: Any = AutoModelForCausalLM.from_config(config)  # type: ignore[no-untyped-call]
    except Exception as error:
        pytest.skip(f"its default configuration makes no model: {error}")
    if sum(parameter.numel() for parameter in empty.parameters()) > 150_000_000:
        pytest.skip("its default configuration makes no small model")
    return random_module(config)


@pytest.mark.parametrize("kind", sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))
def test_an_architecture_gives_its_text_in_every_mode_or_is_refused(
    kind: str, tmp_path: Path
) -> None:
    name = save_module(tmp_path, small_module(kind))
    try:
        load_model(name, dtype="float32", compile=False)
    except ModelUnavailableError as error:
        assert "\n" not in str(error) and str(error).endswith(".")
        return
    expected = oracle_ids(name)
    assert ids_of(name) == expected
    assert ids_of(name, "ngram") == expected
