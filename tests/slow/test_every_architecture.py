"""Every architecture that transformers knows gives its text in every mode, or is refused in a sentence.

The numbers of each default configuration are made small by rule.
"""

from pathlib import Path

import pytest
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

from core.engine import Engine
from core.errors import ModelUnavailableError
from core.loading.loading import load_model
from core.models.quiet import quiet_transformers
from tests.core.models.every_mode import (
    NoModelError,
    check_every_mode,
    random_module,
    small_configuration,
)
from tests.core.models.folders import oracle_ids, save_module
from tests.tiny_folder import save_tiny_model

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("kind", sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES))
def test_an_architecture_gives_its_text_in_every_mode_or_is_refused(
    kind: str, tmp_path: Path
) -> None:
    quiet_transformers()
    try:
        name = save_module(tmp_path / "target", random_module(small_configuration(kind)))
    except NoModelError as error:
        pytest.skip(f"its default configuration makes no small model: {error}")
    other = save_tiny_model(tmp_path / "draft", seed=1)
    try:
        engine = Engine(load_model(name, dtype="float32", compile=False))
    except ModelUnavailableError as error:
        assert "\n" not in str(error) and str(error).endswith(".")
        return
    check_every_mode(engine, oracle_ids(name), other)
