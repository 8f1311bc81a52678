"""JSON from the default model: by a schema, in every kind of mode the same text."""

import json

import pytest

from core.config import RunConfig
from core.engine import Engine
from core.trace.events import RunFinished
from tests.conftest import run_trace

pytestmark = pytest.mark.model

SCHEMA = {
    "type": "object",
    "properties": {
        "river": {"type": "string", "maxLength": 20},
        "length_km": {"type": "integer", "minimum": 1, "maximum": 9999},
        "countries": {
            "type": "array",
            "items": {"enum": ["Egypt", "Sudan", "Brazil"]},
            "maxItems": 2,
        },
    },
    "required": ["river", "length_km", "countries"],
    "additionalProperties": False,
}
QUESTION = "Describe the river Nile as JSON: its name, its length in km, its countries."


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_every_mode_writes_the_same_json(default_engine: Engine, temperature: float) -> None:
    texts = []
    for mode in ("naive", "ngram", "hybrid", "sd-classic"):
        sampling = {"constraint": f"json:{json.dumps(SCHEMA)}", "temperature": temperature}
        config = RunConfig.from_dict({"mode": mode, "max_new_tokens": 80, "sampling": sampling})
        trace = run_trace(default_engine, QUESTION, config)
        finished = trace.first(RunFinished)
        assert finished is not None and finished.reason == "eos"
        texts.append(trace.text)
    answer = json.loads(texts[0])
    assert set(answer) == set(SCHEMA["required"]) and 1 <= answer["length_km"] <= 9999
    assert len(answer["river"]) <= 20 and set(answer["countries"]) <= {"Egypt", "Sudan", "Brazil"}
    assert texts == texts[:1] * 4
    config = RunConfig.from_dict({"max_new_tokens": 60, "sampling": {"constraint": "json"}})
    assert run_trace(default_engine, QUESTION, config).text.startswith("{")
