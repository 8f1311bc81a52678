"""A server as an engine: what it is asked, what it is found to be, and how its answers end."""

import socket
import time
from typing import Any

import pytest

from core.attached.engine import AttachedEngine
from core.attached.event_stream import EventStream, open_client
from core.config import RunConfig, SamplingConfig
from core.errors import InvalidSettingError, ModelUnavailableError
from core.modes.server import MODE, ServerAddress, is_address, parse_address
from core.trace.events import Committed, RunFailed, RunFinished, RunStarted, ServerTotals
from core.trace.file import Trace, load_trace, save_trace
from tests.core.attached.streams import recorded
from tests.core.benchmark.completion_server import (
    Script,
    text_event,
    usage_event,
)

MESSAGES = [{"role": "user", "content": "Say hi."}]


def models(owner: str, *names: str) -> dict[str, Any]:
    return {"data": [{"id": name, "owned_by": owner} for name in names or ("tiny",)]}


def be_llama(script: Script, name: str = "llama-draft") -> None:
    stream = recorded(name)
    script.found |= {
        "/v1/models": models("llamacpp"),
        "/props": {"build_info": "b11549"},
        "/slots": [{"id": 0, "speculative": True}],
        "/apply-template": {"prompt": "<user>Say hi."},
        "/tokenize": {"tokens": stream.prompt_token_ids},
    }
    script.finish = None
    script.events = [event for _, event in stream.events]


def run(url: str, config: RunConfig | None = None, **more: Any) -> Trace:
    engine = AttachedEngine(url)
    config = config or RunConfig(mode=MODE, target=url, max_new_tokens=40)
    return Trace(list(engine.run(engine.chat_prompt(MESSAGES), config, **more)))


def test_an_answer_of_llama_server_is_a_trace_like_any_other(
    url: str, script: Script, tmp_path: Any
) -> None:
    be_llama(script)
    trace = run(url)
    save_trace(trace, tmp_path / "run.jsonl")
    assert load_trace(tmp_path / "run.jsonl").events == trace.events
    started, finished = trace.first(RunStarted), trace.first(RunFinished)
    assert started is not None and started.server is not None and finished is not None
    assert started.server == {
        "kind": "llama-server",
        "address": url,
        "model": "tiny",
        "version": "b11549",
        "speculates": True,
    }
    assert started.config["mode"] == MODE and started.prompt_text == "Say hi."
    assert started.prompt_token_ids == recorded("llama-draft").prompt_token_ids
    assert finished.reason == "eos" and finished.peak_memory_bytes is None
    assert trace.text.startswith("Hello there!") and trace.stats.num_steps == 6
    (asked,) = script.requests
    assert asked["path"] == "/completion" and asked["timings_per_token"] is True
    assert (asked["prompt"], asked["n_predict"]) == (started.prompt_token_ids, 40)


def test_vllm_is_asked_for_ids_and_its_counters_stand_for_what_it_does_not_tell(
    url: str, script: Script
) -> None:
    def counters(scale: int) -> str:
        names = {"generation_tokens": 5, "spec_decode_num_drafts": 1}
        names |= {"spec_decode_num_draft_tokens": 4, "spec_decode_num_accepted_tokens": 3}
        lines = [f'vllm:{name}_total{{engine="0"}} {scale * n}.0' for name, n in names.items()]
        return "\n".join(["# HELP of counters", *lines, ""])

    script.found |= {
        "/v1/models": models("vllm"),
        "/version": {"version": "0.32.0"},
        "/metrics": counters(10),
        "/tokenize": {"tokens": [7, 8, 9]},
    }
    script.events = [
        {"choices": [{"text": text, "token_ids": ids}], "usage": {"completion_tokens": count}}
        for text, ids, count in (("a", [1], 1), ("bcde", [2, 3, 4, 5], 5))
    ]
    script.events.append(usage_event(5, 3))
    engine = AttachedEngine(url)
    assert engine.server.speculates is True
    config = RunConfig(mode=MODE, target=url, max_new_tokens=5)
    events = engine.run(engine.chat_prompt(MESSAGES), config)
    made = []
    for event in events:
        made.append(event)
        if isinstance(event, Committed):
            script.found["/metrics"] = counters(11)
    trace = Trace(made)
    totals = trace.first(ServerTotals)
    assert totals is not None and totals.fields == ["usage", "/metrics"]
    stats = trace.stats
    assert (stats.num_drafted, stats.num_accepted, stats.num_steps) == (4, 3, 2)
    assert trace.token_ids == [1, 2, 3, 4, 5]
    (asked,) = script.requests
    assert asked["path"] == "/v1/completions" and asked["return_token_ids"] is True
    assert asked["prompt"] == [7, 8, 9] and asked["stream_options"]["continuous_usage_stats"]


def test_counters_that_somebody_else_moved_tell_nothing(
    url: str, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.attached.engine._COUNTER_PATIENCE_S", 0.1)
    script.found |= {
        "/v1/models": models("vllm"),
        "/metrics": "vllm:spec_decode_num_drafts_total 1.0\nvllm:generation_tokens_total 10.0\n",
    }
    script.events = [text_event("a", usage={"completion_tokens": 1}), usage_event(1, 3)]
    engine = AttachedEngine(url)
    config = RunConfig(mode=MODE, target=url)
    made = []
    for event in engine.run(engine.chat_prompt(MESSAGES), config):
        made.append(event)
        script.found["/metrics"] = "vllm:generation_tokens_total 99.0\n"
    totals = Trace(made).first(ServerTotals)
    assert totals is not None and totals.fields == ["usage"]


@pytest.mark.parametrize(
    ("owner", "more", "kind"),
    [
        ("sglang", {}, "sglang"),
        ("organization_owner", {"/api/v0/models": {"data": []}}, "lm-studio"),
        ("somebody", {}, "openai"),
    ],
)
def test_other_kinds_are_found_by_asking_and_get_the_chat_itself(
    url: str, script: Script, owner: str, more: dict[str, Any], kind: str
) -> None:
    script.found |= {"/v1/models": models(owner), **more}
    script.events = [{"choices": [{"delta": {"content": "hi"}}]}, usage_event(1)]
    trace = run(url)
    started = trace.first(RunStarted)
    assert started is not None and started.server is not None
    assert started.server["kind"] == kind and started.server["speculates"] is None
    (asked,) = script.requests
    assert asked["path"] == "/v1/chat/completions" and asked["messages"] == MESSAGES
    assert ("return_spec_tokens_details" in asked) == (kind == "sglang")
    assert "top_k" not in asked or kind == "sglang"
    assert trace.text == "hi" and trace.first(RunFinished) is not None


def test_a_text_is_continued_as_it_is(url: str, script: Script) -> None:
    script.events = [text_event("b"), usage_event(1)]
    engine = AttachedEngine(f"{url}/v1/")
    config = RunConfig(mode=MODE, target=url)
    assert Trace(list(engine.run(engine.raw_prompt("a"), config))).text == "b"
    (asked,) = script.requests
    assert asked["path"] == "/v1/completions" and asked["prompt"] == "a"


def test_a_server_of_unknown_kind_is_asked_nothing_that_it_may_not_know(
    url: str, script: Script
) -> None:
    engine = AttachedEngine(url)
    sampling = SamplingConfig(temperature=0.5, top_k=4)
    config = RunConfig(mode=MODE, target=url, sampling=sampling)
    with pytest.raises(InvalidSettingError, match="top_k is 4, and a server of unknown kind"):
        engine.run(engine.raw_prompt("a"), config)
    assert script.requests == []


def test_a_model_is_chosen_by_its_name(url: str, script: Script) -> None:
    script.found["/v1/models"] = models("somebody", "one", "two/b")
    assert AttachedEngine(url).server.model == "one"
    assert AttachedEngine(f"{url}/v1#two/b").server.model == "two/b"
    with pytest.raises(InvalidSettingError, match="has no model 'x'; give #NAME of one of one, tw"):
        AttachedEngine(f"{url}#x")


def test_nobody_there_and_no_models_are_one_sentence(url: str, script: Script) -> None:
    with pytest.raises(ModelUnavailableError, match="tells no model at /v1/models"):
        AttachedEngine("http://127.0.0.1:9")
    script.found["/v1/models"] = {"data": []}
    with pytest.raises(ModelUnavailableError, match="serves no model"):
        AttachedEngine(url)


def test_a_key_goes_to_its_own_server_and_into_no_trace(
    url: str, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = parse_address(url).place
    monkeypatch.setenv("SPECDECODES_SERVER_KEYS", f"other:1=no, {place}=s3cret=x")
    script.events = [text_event("b"), usage_event(1)]
    trace = run(url)
    assert {one.get("Authorization") for one in script.headers} == {"Bearer s3cret=x"}
    assert "s3cret" not in str(trace.events)
    monkeypatch.setenv("SPECDECODES_SERVER_KEYS", "other:1=no")
    script.headers.clear()
    run(url)
    assert {one.get("Authorization") for one in script.headers} == {None}
    monkeypatch.setenv("SPECDECODES_SERVER_KEYS", "nonsense")
    with pytest.raises(InvalidSettingError, match="host:port=KEY") as told:
        AttachedEngine(url)
    assert "nonsense" not in str(told.value)


def test_a_refusal_and_a_stream_that_breaks_off_are_failed_runs(url: str, script: Script) -> None:
    script.events, script.finish = [text_event("a")], None
    trace = run(url)
    failed = trace.first(RunFailed)
    assert failed is not None and "without saying why" in failed.message
    assert trace.text == "a" and failed.step == 1
    script.status, script.num_served, script.refusal = 400, 0, "the prompt is too long"
    failed = run(url).first(RunFailed)
    assert failed is not None and "status 400: the prompt is too long" in failed.message


def test_a_stop_is_heard_while_the_server_is_silent(url: str, script: Script) -> None:
    script.events = [text_event("a", usage={"completion_tokens": 1})] * 40
    script.pause_s = 0.3
    engine = AttachedEngine(url)
    config = RunConfig(mode=MODE, target=url)
    prompt = engine.raw_prompt("a")
    made: list[Any] = []
    start_s = time.monotonic()

    def should_stop() -> bool:
        return any(isinstance(event, Committed) for event in made)

    for event in engine.run(prompt, config, should_stop=should_stop):
        made.append(event)
    assert isinstance(made[-1], RunFinished) and made[-1].reason == "stopped"
    assert time.monotonic() - start_s < 5


def test_a_stop_ends_the_connection_of_a_server_that_has_not_answered_yet() -> None:
    """It would go on to compute what nobody waits for."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        taken: list[Any] = []
        stream = EventStream(
            open_client(url), "/x", {}, time.monotonic, lambda what, _: taken.append(what)
        )
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(5)
            asked = connection.recv(65536)
            while b"{}" not in asked:
                asked += connection.recv(65536)
            stream.stop()
            assert connection.recv(1) == b"", "the other side has closed"
        assert taken == []


def test_several_go_on_at_once_and_what_waits_is_not_begun_behind_a_stop(
    url: str, script: Script
) -> None:
    script.events = [text_event("a", usage={"completion_tokens": 1}), usage_event(1)]
    script.pause_s = 0.05
    engine = AttachedEngine(url)
    config = RunConfig(mode=MODE, target=url)
    runs = [(engine.raw_prompt(text), config) for text in "abc"]
    events = list(engine.run_batch(runs, 2))
    assert [place for place, _ in events[:2]] == [0, 1], "two are asked before one answers"
    for place in range(3):
        own = [event for at, event in events if at == place]
        assert isinstance(own[0], RunStarted) and own[0].batch_size == 2
        assert isinstance(own[-1], RunFinished)
    made: list[Any] = []
    for pair in engine.run_batch(runs, 1, should_stop=lambda: bool(made)):
        made.append(pair)
    assert {place for place, _ in made} == {0}


def test_other_modes_and_profiles_are_refused(url: str) -> None:
    engine = AttachedEngine(url)
    assert engine.unavailable_reason(MODE) is None
    assert "give mode server" in (engine.unavailable_reason("ngram") or "")
    with pytest.raises(InvalidSettingError, match="no profile can be made"):
        engine.profile(engine.raw_prompt("a"), RunConfig(mode=MODE, target=url))


@pytest.mark.parametrize(
    ("text", "address", "place", "is_own"),
    [
        ("http://127.0.0.1:8080", ("http://127.0.0.1:8080", None), "127.0.0.1:8080", True),
        ("http://LOCALHOST/v1/", ("http://LOCALHOST", None), "localhost:80", True),
        ("http://[::1]:7/v1#a/b", ("http://[::1]:7", "a/b"), "[::1]:7", True),
        ("https://host/proxy/v1#", ("https://host/proxy", None), "host:443", False),
        ("http://127.0.0.1.evil.org:1", ("http://127.0.0.1.evil.org:1", None), None, False),
    ],
)
def test_an_address_is_read(
    text: str, address: tuple[str, str | None], place: str | None, is_own: bool
) -> None:
    found = parse_address(text)
    assert found == ServerAddress(*address) and found.is_this_machine == is_own
    assert place is None or found.place == place


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("http://", "no address of a server"),
        ("http://host:99999", "no address of a server"),
        ("http://host/?a=b", "no address of a server"),
        ("http://ho st", "no address of a server"),
        ("http://me:word@host:1", "holds a name or password"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(text: str, words: str) -> None:
    with pytest.raises(InvalidSettingError, match=words) as told:
        RunConfig(mode=MODE, target=text)
    assert "word@" not in str(told.value)


def test_pages_of_the_hub_are_no_servers() -> None:
    assert not is_address("https://huggingface.co/owner/name")
    assert RunConfig(target="https://huggingface.co/owner/name").mode == "naive"


@pytest.mark.parametrize(
    "values",
    [{"dtype": "float32"}, {"stop": ("x",)}, {"sampling": SamplingConfig(ignore_eos=True)}],
)
def test_what_a_server_would_not_heed_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(InvalidSettingError, match="is no setting of mode server"):
        RunConfig(mode=MODE, target="http://127.0.0.1:1", **values)


def test_requests_of_programs_are_refused_for_a_server_has_its_own_interface(
    url: str, script: Script
) -> None:
    be_llama(script)
    engine = AttachedEngine(url)
    with pytest.raises(InvalidSettingError, match=r"the prompt is token ids and .* is a server"):
        engine.token_prompt([1, 2])
    asked = iter([object(), object(), None])
    events = list(engine.run_joining(lambda: next(asked), 2))
    assert [index for index, _ in events] == [0, 1]
    assert all(
        isinstance(event, RunFailed) and "ask it itself" in event.message for _, event in events
    )
