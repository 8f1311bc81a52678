"""The types against which the page's scripts are checked are those of the Python classes."""

from app.messages import BatchMessage
from app.runs.batch import batch
from app.runs.session import ChatSession
from core.config import RunConfig
from tests.app.helpers import decoded, handlers_on
from tests.app.scripted_engine import ScriptedEngine
from tests.page_types import PAGE, type_declarations


def test_the_types_of_the_page_are_those_of_the_code() -> None:
    """To mend: `make docs`."""
    assert PAGE.read_text(encoding="utf-8") == type_declarations()


def test_a_batchs_message_has_the_form_that_its_type_says() -> None:
    """It is put together as text, which no type checker reads."""
    config = RunConfig.from_dict({"mode": "ngram", "target": "scripted", "max_new_tokens": 2})
    messages = decoded(batch(handlers_on(ScriptedEngine()), ChatSession(), "Hi\nHo", 2, config))
    assert all(set(message) == set(BatchMessage.__annotations__) for message in messages)
