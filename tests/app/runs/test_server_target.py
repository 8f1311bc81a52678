"""A server as the target of a page: its answer is a turn like any other, and is kept."""

from pathlib import Path

from app.runs.session import ChatSession
from core.trace.file import load_trace
from tests.app.helpers import decoded, form_values, handlers_on
from tests.app.runs.test_comparison_run import speaking_llama
from tests.app.scripted_engine import ScriptedEngine
from tests.core.benchmark.completion_server import completion_server


def test_an_answer_of_a_server_is_a_turn_whose_unknown_figures_are_no_zeros() -> None:
    engine = ScriptedEngine()
    handlers, session = handlers_on(engine), ChatSession()
    session.visitor = "me"
    with completion_server(speaking_llama(True, "m")) as url:
        # What stands in the form for other modes is no setting of this one.
        values = form_values("server", target=url, weights="q4", repetition_penalty=1.5)
        messages = decoded(handlers.ask(session, "Say hi.", "", values))
    assert messages[-1]["status"]["phase"] == "ended" and engine.prompts == []
    events = [event for message in messages for event in message["events"]]
    kinds = {event["kind"] for event in events}
    assert {"observed", "server_totals"} <= kinds and "drafted" not in kinds
    stats = messages[-1]["stats"]
    assert (stats["num_steps"], stats["num_accepted"], stats["verify_s"]) == (6, 20, None)
    assert stats["origins"]["verify_s"] == "unknown"
    (kept,) = handlers.archive.runs("me")
    assert (kept.mode, kept.target, kept.num_tokens) == ("server", url, 25)
    (path,) = Path(handlers.archive.place("me")).glob("*.jsonl")
    assert load_trace(path).stats.num_accepted == 20
