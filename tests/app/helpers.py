"""What the page's tests share: pools on scripted engines, and the messages of a listener."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from app.engines.model_pool import ModelPool
from app.runs.archive import Archive
from app.runs.handlers import Handlers
from app.runs.run_form import mode_fields, run_fields
from app.runs.run_store import RunStore
from tests.app.scripted_engine import ScriptedEngine, load_scripted


def handlers_on(engine: ScriptedEngine) -> Handlers:
    archive = Archive(Path(tempfile.mkdtemp(prefix="specdecodes-runs-")))
    return Handlers(ModelPool(load_scripted(engine)), RunStore(), archive)


def form_values(mode: str = "ngram", **changed: Any) -> dict[str, Any]:
    """The form as it stands when the page opens, with some values changed."""
    values = {field.key: field.default for field in [*run_fields(), *mode_fields(mode)]}
    return {**values, "mode": mode, "target": "scripted", **changed}


def decoded(messages: Iterator[str]) -> list[dict[str, Any]]:
    return [json.loads(message) for message in messages]
