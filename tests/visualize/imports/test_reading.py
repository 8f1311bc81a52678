"""Files of other programs: known by their content, read exactly, and refused by the line that is broken.

`files/README.md` says where the files come from.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.errors import InvalidSettingError
from visualize.imports.formats import FORMATS, VLLM_BENCH
from visualize.imports.reading import load_import, read_import
from visualize.imports.records import Record, Source, drafted_tau_of, rate_of, tau_of

FILES = Path(__file__).parent / "files"
FORMAT_OF = {
    "aiperf.jsonl": "AIPerf records",
    "eagle.jsonl": "EAGLE answers",
    "llama-server-older.log": "llama.cpp server log",
    "llama-server-steps.log": "llama.cpp server log",
    "llama-server.log": "llama.cpp server log",
    "sglang-bench.jsonl": "SGLang bench",
    "spec-bench.jsonl": "Spec-Bench answers",
    "speed-bench.json": "llama.cpp SPEED-Bench",
    "vllm-bench.json": "vLLM bench serve",
    "vllm-responses.jsonl": "vLLM responses",
    "vllm-server-bench.json": "vLLM bench serve",
    "vllm-server.jsonl": "vLLM responses",
}


def only(name: str) -> Source:
    (source,) = load_import(FILES / name)
    return source


def text_of(name: str) -> str:
    return (FILES / name).read_text(encoding="utf-8")


def counts(record: Record) -> tuple[int | None, ...]:
    return record.num_drafted_steps, record.num_drafted, record.num_accepted


@pytest.mark.parametrize("name", FORMAT_OF)
def test_a_file_is_known_by_its_content_whatever_its_name(name: str) -> None:
    sources = read_import((FILES / name).read_bytes(), "x")
    assert {source.format for source in sources} == {FORMAT_OF[name]}
    told = [
        replace(source, name=source.name.replace(name, "x")) for source in load_import(FILES / name)
    ]
    assert sources == told


def test_every_format_has_a_file_here() -> None:
    assert set(FORMAT_OF) == {path.name for path in FILES.iterdir()} - {"README.md"}
    assert set(FORMAT_OF.values()) == {format_.name for format_ in FORMATS}


def test_vllm_responses_hold_steps_and_what_one_lacks_is_unknown() -> None:
    source = only("vllm-responses.jsonl")
    first, second, without, failed = source.records
    assert (source.holds, source.model) == ("steps", "tiny")
    assert first.accepted_by_step == (3, 1, 2) and first.drafted_by_step == (3, 3, 3)
    assert (first.name, first.num_prompt_tokens, first.num_tokens) == ("cmpl-1", 11, 10)
    # 10 tokens 25 ms apart; and 32 a second with the prompt's time.
    assert (first.time_to_first_token_s, first.decode_s) == (0.05, 0.25)
    assert first.total_s == 0.3125
    assert first.histogram == (0, 1, 1, 1) and counts(first) == (3, 9, 6)
    assert drafted_tau_of(first) == 3.0 and tau_of(first, every_step=False) is None
    assert rate_of(second) == 0.4
    assert without == Record(name="cmpl-3", num_prompt_tokens=9, num_tokens=4)
    assert failed == Record(name="4", error="the prompt is too long")
    assert source.histogram == (1, 1, 2, 1)


def test_responses_of_a_real_vllm_are_read_whole() -> None:
    completion, chat, several, streamed = only("vllm-server.jsonl").records
    assert [counts(each) for each in (completion, chat, several, streamed)] == [
        (6, 18, 16), (1, 3, 0), (None, None, None), (8, 20, 12),
    ]  # fmt: skip
    assert streamed.accepted_by_step == (0, 1, 0, 1, 1, 3, 3, 3)
    assert streamed.drafted_by_step == (3, 3, 3, 1, 1, 3, 3, 3)
    assert streamed.histogram == (2, 3, 0, 3) and drafted_tau_of(streamed) == 2.5
    # Its mean gap is over the tokens behind the first, its tokens a second over the whole time.
    first_s, rest_s = 0.2616243800002849, 1.7319452459996683
    assert streamed.time_to_first_token_s == pytest.approx(first_s)
    assert streamed.decode_s == pytest.approx(rest_s * 20 / 19)
    assert streamed.total_s == pytest.approx(first_s + rest_s, rel=1e-4)


def test_a_benchmark_of_a_real_vllm_is_read_whole() -> None:
    source = only("vllm-server-bench.json")
    assert source.whole is not None and counts(source.whole) == (1, 3, 0)
    assert source.histogram == (1,) and source.whole.duration_s == 8.53131476300041
    assert [record.num_tokens for record in source.records] == [16] * 4
    assert len(source.records[0].gaps_s or ()) == 15


def test_a_vllm_benchmark_holds_the_servers_totals_and_its_histogram() -> None:
    source = only("vllm-bench.json")
    whole = source.whole
    assert whole is not None
    assert counts(whole) == (10, 30, 18)
    # 0.8, 0.6 and 0.4 of 10 steps accepted at least 1, 2 and 3.
    assert source.histogram == (2, 2, 2, 4)
    assert (whole.num_requests, whole.num_failed, whole.num_tokens) == (2, 1, 25)
    assert (drafted_tau_of(whole), rate_of(whole)) == (2.8, 0.6)
    assert [record.num_tokens for record in source.records] == [15, 10, None]
    assert source.records[0].gaps_s == (0.02, 0.021, 0.03)
    assert source.records[2] == Record(name="3", error="Bad Request")


def test_each_line_of_sglang_is_a_benchmark_of_its_own() -> None:
    first, second = load_import(FILES / "sglang-bench.jsonl")
    assert [source.name for source in (first, second)] == [
        "sglang-bench.jsonl, line 1",
        "sglang-bench.jsonl, line 2",
    ]
    assert first.whole is not None and second.whole is not None
    assert tau_of(first.whole, every_step=False) == 2.0
    assert first.records == [] and len(second.records) == 3
    assert counts(first.whole) == (None, None, None)
    assert first.histogram is None and first.holds == "totals"
    assert second.records[0].time_to_first_token_s == 0.01280645299993921


def test_aiperf_holds_what_the_client_measured_and_vllm_told() -> None:
    source = only("aiperf.jsonl")
    first = source.records[0]
    assert len(source.records) == 4 and source.holds == "steps"
    assert first.name == "f7170b29-4021-45eb-b914-cec5d71a0299"
    assert first.accepted_by_step == (0, 2) and first.histogram == (1, 0, 1)
    assert (first.num_tokens, first.num_prompt_tokens) == (5, 11)
    assert first.time_to_first_token_s == pytest.approx(0.028953912)
    assert first.gaps_s == pytest.approx((0.009344142, 0.01089033))
    assert first.start_s is not None and first.end_s is not None
    assert first.end_s - first.start_s == pytest.approx(0.050, abs=1e-3)


def test_a_request_that_failed_under_aiperf_is_no_measurement() -> None:
    error = {"code": 500, "type": "HTTPError", "message": "out of <memory>"}
    (source,) = read_import(with_value("aiperf.jsonl", 2, "error", error), "x")
    assert source.records[1].error == "out of <memory>" and source.records[1].num_tokens is None
    assert len(source.told) == 3


def test_requests_of_aiperfs_warm_up_are_left_out_and_counted() -> None:
    data = with_value("aiperf.jsonl", 1, "metadata.benchmark_phase", "warmup")
    (source,) = read_import(data, "x")
    assert source.records == only("aiperf.jsonl").records[1:]
    assert source.notes == ("1 lines of metadata.benchmark_phase warmup are left out",)


def test_a_failure_without_words_and_a_request_that_was_cancelled_are_none_either() -> None:
    (source,) = read_import(with_value("aiperf.jsonl", 2, "metadata.was_cancelled", True), "x")
    assert source.records[1].error == "it was cancelled" and len(source.told) == 3
    values = json.loads(text_of("speed-bench.json"))
    values["results"][3]["error"] = ""
    (source,) = read_import(json.dumps(values).encode(), "x")
    assert source.records[3] == Record(name="q4", category="qa", error="it failed")


def test_rates_by_position_that_do_not_make_the_total_give_no_histogram() -> None:
    for rates in ([0.8, 0.6, 0.3], [0.81, 0.6, 0.4], [0.4, 0.6, 0.8], []):
        data = with_value("vllm-bench.json", 1, VLLM_BENCH.position_rates, rates)
        (source,) = read_import(data, "x")
        assert source.histogram is None and source.holds == "totals"


def test_speed_bench_holds_totals_and_no_drafts_are_unknown_ones() -> None:
    source = only("speed-bench.json")
    drafted = [(record.num_drafted, record.num_accepted) for record in source.records]
    assert drafted == [(9, 9), (6, 1), (None, None), (None, None)]
    assert [record.category for record in source.records] == ["coding", "coding", "qa", "qa"]
    assert source.records[0].decode_s == pytest.approx(3.150118)
    assert source.records[3].error == "HTTP 500: out of memory"
    assert source.holds == "totals"


def test_the_same_server_tells_more_in_a_log_of_steps() -> None:
    short, long = only("llama-server.log"), only("llama-server-steps.log")
    assert (short.holds, long.holds) == ("totals", "steps")
    assert short.model == "SmolLM2-135M-Instruct.Q4_1.gguf"
    # By the lines `accepted 3/3`, and by the means 4.00, 2.00 and 3.00 alone.
    for source in (short, long):
        assert sorted(counts(record) for record in source.told if record.num_drafted) == [
            (1, 5, 2),
            (1, 6, 1),
            (3, 9, 9),
        ]
    assert [record.accepted_by_step for record in long.records] == [(3, 3, 3), (1,), None, (2,)]
    without = next(record for record in short.records if record.name == "21")
    assert counts(without) == (None, None, None)
    assert (without.num_tokens, without.decode_s, without.total_s) == (12, 0.7918, 0.99653)


def test_lines_of_older_servers_are_read_too() -> None:
    first, second = only("llama-server-older.log").records
    # Without a mean, the number of steps is unknown.
    assert counts(first) == (None, 33, 19) and counts(second) == (5, 15, 12)
    assert first.decode_s == pytest.approx(1.2044)


def test_a_server_that_was_started_again_uses_its_task_numbers_anew() -> None:
    log = text_of("llama-server.log")
    (source,) = read_import((log + log).encode(), "twice.log")
    assert len(source.records) == 8
    assert source.records[4:] == source.records[:4]


def test_spec_bench_holds_every_step() -> None:
    source = only("spec-bench.jsonl")
    first = source.records[0]
    assert first.accepted_by_step == (2, 0, 3, 0, 1) and first.num_steps == 5
    assert (first.num_tokens, first.total_s) == (11, pytest.approx(0.6))
    assert first.num_drafted is None and rate_of(first) is None
    assert tau_of(first, every_step=source.every_step) == 2.2
    assert source.holds == "steps" and source.model == "tiny-pld"


def test_eagle_holds_the_number_of_steps() -> None:
    source = only("eagle.jsonl")
    # The index of a turn's last step is one less than its steps: 30 and 8 make 40.
    assert source.records[0].num_steps == 40 and source.records[0].num_tokens == 135
    assert tau_of(source.records[0], every_step=source.every_step) == 3.375
    assert source.holds == "totals" and source.histogram is None


def test_a_turn_that_broke_is_no_measurement() -> None:
    line = json.loads(text_of("spec-bench.jsonl").splitlines()[0])
    line["choices"][0]["turns"][1] = "ERROR"
    (source,) = read_import((json.dumps(line) + "\n").encode(), "x")
    assert source.told == [] and source.records[0].num_tokens is None


def with_value(name: str, line: int, path: str, value: Any) -> bytes:
    """The file with one value of a line changed."""
    lines = [json.loads(text) for text in text_of(name).splitlines()]
    place = lines[line - 1]
    *parents, last = path.split(".")
    for part in parents:
        place = place[int(part)] if part.isdecimal() else place[part]
    place[last] = value
    return "".join(json.dumps(each) + "\n" for each in lines).encode()


SPEC = "metrics.speculative_decoding"


@pytest.mark.parametrize(
    ("name", "line", "path", "value", "told"),
    [
        (
            "vllm-responses.jsonl", 2, f"{SPEC}.num_draft_tokens", -1,
            f"line 2: {SPEC}.num_draft_tokens is -1; allowed is a whole number from 0.",
        ),
        (
            "vllm-responses.jsonl", 2, f"{SPEC}.num_accepted_draft_tokens", 4,
            "line 2: accepted tokens are 4 and add up to 2 step by step; both are to be equal.",
        ),
        (
            "vllm-responses.jsonl", 1, f"{SPEC}.per_step_drafted", [3, 3],
            "line 1: 3 steps tell what they accepted and 2 what they drafted; both lists are to be of "
            "one length.",
        ),
        (
            "vllm-responses.jsonl", 1, f"{SPEC}.per_step_accepted", [3, 4, -1],
            f"line 1: {SPEC}.per_step_accepted is [3, 4, -1]; allowed is a list of whole numbers from 0",
        ),
        (
            "vllm-responses.jsonl", 1, f"{SPEC}.acceptance_histogram", [1, 0, 1, 1],
            "line 1: accepted tokens are 6 and add up to 5 step by step; both are to be equal.",
        ),
        (
            "vllm-responses.jsonl", 1, f"{SPEC}.mean_acceptance_length", 2.5,
            "line 1: tokens a step with a draft is 2.5, and its counts give 3; both are to agree.",
        ),
        (
            "vllm-responses.jsonl", 1, f"{SPEC}.draft_acceptance_rate", 66.7,
            f"line 1: {SPEC}.draft_acceptance_rate is 66.7; allowed is a number from 0 to 1.",
        ),
        (
            "vllm-responses.jsonl", 3, "usage", None,
            "line 3: usage is missing; every line of vLLM responses has it.",
        ),
        (
            "vllm-responses.jsonl", 3, "metrics", 7,
            "line 3: metrics is 7; allowed is an object.",
        ),
        (
            "aiperf.jsonl", 4, "metrics.request_latency.unit", "weeks",
            "line 4: metrics.request_latency is {'value': ",
        ),
        (
            "sglang-bench.jsonl", 2, "ttfts", [0.1],
            "line 2: errors has 3, input_lens has 3, output_lens has 3, ttfts has 1; allowed are lists "
            "of one length.",
        ),
        (
            "spec-bench.jsonl", 3, "choices.0.accept_lengths", [0],
            "line 3: choices.0.accept_lengths is [0]; allowed is a list of whole numbers from 1.",
        ),
        (
            "eagle.jsonl", 1, "choices.0.new_tokens", "110",
            "line 1: choices.0.new_tokens is '110'; allowed is a list of whole numbers from 0.",
        ),
    ],
)  # fmt: skip
def test_a_broken_line_is_named_with_what_was_got_and_what_is_allowed(
    name: str, line: int, path: str, value: Any, told: str
) -> None:
    with pytest.raises(InvalidSettingError) as caught:
        read_import(with_value(name, line, path, value), "some file")
    assert str(caught.value).startswith(f"'some file', {told}")


@pytest.mark.parametrize("value", [10**12 + 1, 10**400, 2**63, float("inf"), 1e300, True])
def test_numbers_beyond_what_a_table_holds_are_refused(value: Any) -> None:
    data = with_value("vllm-responses.jsonl", 3, "usage.completion_tokens", value)
    with pytest.raises(InvalidSettingError, match=r"line 3: usage.completion_tokens is"):
        read_import(data, "x")
    lengths = with_value("spec-bench.jsonl", 3, "choices.0.new_tokens", [10**12, 10**12])
    with pytest.raises(InvalidSettingError, match="num_tokens comes to 2000000000000; allowed are"):
        read_import(lengths, "x")


def test_a_mean_of_nothing_is_unknown() -> None:
    """Python writes NaN for it."""
    data = with_value("vllm-bench.json", 1, "median_ttft_ms", float("nan"))
    (source,) = read_import(data, "x")
    assert source.whole is not None and source.whole.first_p50_s is None


def test_what_is_broken_in_a_list_of_answers_is_told_by_its_place() -> None:
    values = json.loads(text_of("speed-bench.json"))
    values["results"][1]["draft_n"] = True
    with pytest.raises(InvalidSettingError) as caught:
        read_import(json.dumps(values).encode(), "x")
    assert str(caught.value) == (
        "'x', line 1: results.1.draft_n is True; allowed is a whole number from 0, which stands for "
        "none told."
    )


def test_more_accepted_than_drafted_is_refused_in_a_log_as_well() -> None:
    log = text_of("llama-server.log").replace("1 accepted /     6", "7 accepted /     6")
    with pytest.raises(InvalidSettingError, match=r"line 25: 7 of 6 drafted tokens are accepted"):
        read_import(log.encode(), "x")


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is of no kind"),
        (b"hello\nworld\n", "is of no kind"),
        (b'{"a": 1}\n', "is of no kind"),
        (b"[1, 2, 3]", "is of no kind"),
        (b'{"a": 1\n', "line 1: it is not JSON"),
        (b"[" * 100_000, "nested too deeply"),
        (b"\xff\xfea\0", "UTF-16"),
        (b"\xc3\x28", "not UTF-8"),
        (b'{"choices": 1, "usage": 2, "metrics": 3}\n', "is of no kind"),
    ],
)
def test_what_is_no_file_of_these_is_refused_in_a_sentence(data: bytes, told: str) -> None:
    with pytest.raises(InvalidSettingError, match=told):
        read_import(data, "x")


def test_a_line_that_is_no_json_is_named_and_a_cut_last_one_is_left_out() -> None:
    lines = text_of("eagle.jsonl").splitlines(keepends=True)
    with pytest.raises(InvalidSettingError, match=r"'x', line 2: it is not JSON .* allowed is a"):
        read_import((lines[0] + lines[1][:40] + "\n" + lines[1]).encode(), "x")
    (source,) = read_import((lines[0] + lines[1][:40]).encode(), "x")
    assert len(source.records) == 1
    assert source.notes == ("line 2 is cut off in its middle and is left out",)


def test_names_are_one_line_without_control_characters() -> None:
    data = with_value("eagle.jsonl", 1, "model_id", "a\x1b[2J\n<b>\ud800" + "x" * 500)
    (source,) = read_import(data, "x")
    assert source.model.startswith("a [2J <b>\\ud800xx")
    assert len(source.model) < 200 and source.model.isprintable()


def test_a_mean_that_leaves_two_numbers_of_steps_open_tells_neither() -> None:
    line = "| task 1 | draft acceptance = 0.5 ({} accepted / 9000 generated), mean len = {}\n"
    (source,) = read_import(line.format(3000, "3.00").encode(), "x")
    assert source.records[0].num_drafted_steps is None  # 1497 to 1503 all round to it
    (source,) = read_import(line.format(30, "3.00").encode(), "x")
    assert source.records[0].num_drafted_steps == 15
