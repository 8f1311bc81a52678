"""What an operator may forbid, and what the page then says."""

import pytest
from starlette.requests import Request

from app.runs.limits import Limits, allowed_models, allowed_servers
from app.runs.session import ChatSession
from core.config import RunConfig
from core.errors import InvalidSettingError
from tests.app.helpers import form_values, handlers_on
from tests.app.scripted_engine import ScriptedEngine

LIMITS = Limits(frozenset({"scripted"}), most_tokens=50, most_nodes=8, most_waiting=2)


@pytest.mark.parametrize(
    ("settings", "num_waiting", "sentence"),
    [
        ({"target": "/etc"}, 0, r"model '/etc' is not offered here; choose one of scripted\.$"),
        ({"draft": "../draft", "mode": "sd-classic"}, 0, r"'\.\./draft' is not offered"),
        ({"max_new_tokens": 51}, 0, r"max_new_tokens is 51; this page gives at most 50\.$"),
        ({"mode": "ngram", "drafter": {"num_nodes": 9}}, 0, r"num_nodes is 9; .* at most 8"),
        ({}, 2, r"2 runs wait already"),
    ],
)
def test_what_goes_beyond_a_limit_is_refused_in_a_sentence(
    settings: dict[str, object], num_waiting: int, sentence: str
) -> None:
    config = RunConfig.from_dict({"target": "scripted", "max_new_tokens": 50, **settings})
    with pytest.raises(InvalidSettingError, match=sentence):
        LIMITS.check(config, num_waiting)


def test_shipped_drafters_need_no_permission() -> None:
    settings = {"mode": "hybrid", "draft": "eagle", "max_new_tokens": 9}
    drafter = {"num_nodes": 8}
    LIMITS.check(RunConfig.from_dict({**settings, "target": "scripted", "drafter": drafter}), 1)


def test_a_refused_message_leaves_the_chat_as_it_was() -> None:
    handlers, session = handlers_on(ScriptedEngine()), ChatSession()
    handlers.limits = LIMITS
    with pytest.raises(InvalidSettingError, match="not offered"):
        next(handlers.ask(session, "Hi", "", form_values(target="other")))
    assert session.runs == []


@pytest.mark.parametrize(
    ("word", "is_private", "expected"),
    [
        (None, True, None),
        (None, False, {"mine", "smollm2-135m"}),
        ("all", False, None),
        ("one, two", True, {"mine", "one", "two"}),
    ],
)
def test_a_page_that_others_reach_offers_only_the_catalogue(
    word: str | None, is_private: bool, expected: set[str] | None
) -> None:
    allowed = allowed_models(word, "mine", is_private=is_private)
    if expected is None:
        assert allowed is None
    else:
        assert allowed is not None and expected <= allowed


OWN, OTHER = "http://127.0.0.1:8080", "http://gpu:8000/v1#m"


@pytest.mark.parametrize(
    ("word", "is_private", "allowed"),
    [
        (None, True, [OWN]),
        (None, False, []),
        ("none", True, []),
        ("own", False, [OWN]),
        ("gpu:8000", True, [OTHER]),
        ("gpu:8000, own", False, [OWN, OTHER]),
        ("gpu:80", True, []),
        ("all", False, [OWN, OTHER]),
    ],
)
def test_servers_are_targets_where_the_operator_allows_them(
    word: str | None, is_private: bool, allowed: list[str]
) -> None:
    servers = allowed_servers(word, "mine", is_private=is_private)
    limits = Limits(models=frozenset({"mine"}), servers=servers)
    for target in (OWN, OTHER):
        if target in allowed:
            limits.check_model(target)
        else:
            with pytest.raises(InvalidSettingError, match="allows it by --allow-servers"):
                limits.check_model(target)


def test_the_server_that_a_page_starts_with_is_allowed_and_no_nonsense_is() -> None:
    assert allowed_servers("none", OTHER, is_private=False) == {"gpu:8000"}
    for word in ("gpu", "http://gpu:8000", "all,own:x"):
        with pytest.raises(InvalidSettingError, match="give all, own, none, or host:port"):
            allowed_servers(word, "mine", is_private=True)


def test_one_visitor_cannot_take_the_whole_queue() -> None:
    handlers, greedy = handlers_on(ScriptedEngine(step_s=0.01)), ChatSession()
    handlers.limits = Limits(most_waiting_each=2)
    greedy.owner = "greedy"
    chats = [ChatSession(), ChatSession()]
    runs = []
    for chat in chats:
        chat.owner = "greedy"
        runs.append(handlers.ask(chat, "Hi", "", form_values(max_new_tokens=5000)))
        next(runs[-1])
    with pytest.raises(InvalidSettingError, match="2 runs of yours wait already"):
        next(handlers.ask(greedy, "Hi", "", form_values()))
    other = ChatSession()
    other.owner = "other"
    theirs = handlers.ask(other, "Hi", "", form_values(max_new_tokens=2))
    next(theirs)
    for run in runs:
        run.close()  # type: ignore[attr-defined]
    assert list(theirs)


def test_visitors_without_a_cookie_are_told_apart_by_their_addresses() -> None:
    """They once shared one place in the queue."""
    sessions = [ChatSession(), ChatSession()]
    for number, session in enumerate(sessions):
        client = {"type": "http", "headers": [], "client": (f"10.0.0.{number}", 1)}
        session.take(Request(client))
    assert [session.visitor for session in sessions] == [None, None]
    assert [session.owner for session in sessions] == ["10.0.0.0", "10.0.0.1"]
