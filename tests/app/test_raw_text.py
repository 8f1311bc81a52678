"""A model without a chat template on the page: it says what to do, and that works."""

from pathlib import Path

from app.engines.engines import load_engine
from app.engines.model_pool import ModelPool
from app.runs.archive import Archive
from app.runs.handlers import Handlers
from app.runs.run_store import RunStore
from app.runs.session import ChatSession
from tests.app.helpers import decoded, form_values
from tests.tiny_folder import save_tiny_model


def test_a_base_model_refuses_a_chat_and_continues_raw_text(tmp_path: Path) -> None:
    target = save_tiny_model(tmp_path / "target")
    for template in Path(target).glob("*.jinja"):
        template.unlink()
    handlers = Handlers(ModelPool(load_engine), RunStore(), Archive(tmp_path / "runs"))
    values = form_values("naive", target=target, max_new_tokens=4)
    refused = decoded(handlers.ask(ChatSession(), "Once upon", "", values))[-1]["status"]
    assert refused["phase"] == "failed"
    assert "has no chat template" in refused["text"] and "Raw text" in refused["text"]
    *_, last = decoded(handlers.ask(ChatSession(), "Once upon", "", values, raw=True))
    assert (last["status"]["phase"], last["stats"]["num_tokens"]) == ("ended", 4)
    started = handlers.store.runs[-1].trace.events[0]
    assert (started.prompt_text, len(started.prompt_token_ids)) == ("Once upon", len("Once upon"))
