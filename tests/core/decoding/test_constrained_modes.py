"""Every mode under a constraint: the text of constrained plain decoding, which follows the form."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from core.config import RunConfig
from core.engine import Engine
from core.errors import InvalidSettingError
from core.trace.events import Accepted, Committed, Drafted, RunFailed, Verified
from core.trace.file import Trace
from tests.core.conftest import PROMPT, run
from tests.core.decoding.test_batches import PROMPTS, run_batch
from tests.core.decoding.test_corrected_modes import ending_of
from tests.core.decoding.test_modes import CHAIN, GREEDY, MODES, SAMPLED, TREE, mode_settings

EngineOf = Callable[..., Engine]

END = 180
# Hexadecimal digits in threes. The tokenizer has a token a character, and an end.
FORM = {"constraint": "regex:[a-f0-9]{3}(-[a-f0-9]{3})*"}
SAMPLINGS = {"greedy": {**GREEDY, **FORM}, "sampled": {**SAMPLED, **FORM, "min_p": 0.02}}


@pytest.fixture
def engine(engine_of: EngineOf, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """The shared engine, with the tokenizer's end as the end of a text."""
    engine = engine_of()
    monkeypatch.setattr(engine, "target", replace(engine.target, eos_token_ids=frozenset({END})))
    engine.__dict__.pop("_token_trie", None)
    return engine


def follows(text: str) -> bool:
    """Whether a text is the beginning of one that FORM describes."""
    return all(
        character == "-" if place % 4 == 3 else character in "abcdef0123456789"
        for place, character in enumerate(text)
    )


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
@pytest.mark.parametrize("mode", MODES)
def test_every_mode_gives_the_text_of_constrained_plain_decoding(
    mode: str, sampling: dict[str, Any], engine: Engine, tiny_home: Path
) -> None:
    plain = run(engine, sampling=sampling)
    drafted = run(engine, sampling=sampling, **mode_settings(mode, TREE, tiny_home))
    assert drafted.token_ids == plain.token_ids
    assert drafted.stats.num_drafted > 0
    assert len(plain.text) > 8 and follows(plain.text)


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
@pytest.mark.parametrize("shape", [CHAIN, TREE], ids=["chain", "tree"])
def test_each_node_has_the_mask_of_its_path_so_that_the_target_drafts_for_itself_without_a_miss(
    shape: dict[str, Any], sampling: dict[str, Any], engine: Engine
) -> None:
    drafted = run(engine, mode="share-sd", drafter={"bits": 16, **shape}, sampling=sampling)
    assert drafted.stats.num_accepted > 10
    assert drafted.stats.acceptance_rate == 1.0
    assert drafted.token_ids == run(engine, sampling=sampling).token_ids


@pytest.mark.parametrize(
    "settings",
    [{}, {"mode": "ngram", "drafter": TREE}, {"mode": "share-sd", "drafter": {"bits": 16, **TREE}}],
    ids=["naive", "ngram", "share-sd"],
)
def test_an_answer_whose_form_is_complete_ends(settings: dict[str, Any], engine: Engine) -> None:
    trace = run(engine, sampling={"constraint": "regex:[a-z]{5}X[0-9]{4}"}, **settings)
    assert re.fullmatch("[a-z]{5}X[0-9]{4}", trace.text)
    assert ending_of(trace).reason == "eos" and trace.token_ids[-1] == END
    assert len(trace.token_ids) == 11


# What stands between the digits is forced.
PARTS = {"constraint": "regex:xyz[a-f0-9]{2}(-xyz[a-f0-9]{2}){5}"}


@pytest.mark.parametrize("sampling", SAMPLINGS.values(), ids=SAMPLINGS)
@pytest.mark.parametrize("mode", MODES)
def test_forced_tokens_are_drafts_that_are_always_kept(
    mode: str, sampling: dict[str, Any], engine: Engine, tiny_home: Path
) -> None:
    sampling = {**sampling, **PARTS}
    plain = run(engine, sampling=sampling, max_new_tokens=80)
    trace = run(
        engine, sampling=sampling, max_new_tokens=80, **mode_settings(mode, TREE, tiny_home)
    )
    assert trace.token_ids == plain.token_ids and trace.token_ids[-1] == END
    sources = [source for event in trace.of_kind(Committed) for source in event.sources]
    # The first step begins with a forced chain, and so does each part; the rest hangs on the drafts.
    for token_id, source in zip(trace.token_ids, sources, strict=True):
        if trace.token_texts[token_id] in ("x", "y", "z"):
            assert source in ("forced", "bonus", "recovered")
        else:
            assert source != "forced" or trace.token_texts[token_id] in ("-", "<end>")
    by_constraint = [
        event.step for event in trace.of_kind(Drafted) if event.drafter == "constraint"
    ]
    judged = {event.step: event for event in trace.of_kind(Accepted)}
    assert len(by_constraint) >= 2
    assert all(judged[step].path == judged[step].tested for step in by_constraint)
    assert "forced" not in [
        source for event in plain.of_kind(Committed) for source in event.sources
    ]


def test_whoever_drafts_a_forced_token_its_source_says_so(engine: Engine) -> None:
    own = {"mode": "share-sd", "drafter": {"bits": 16, **CHAIN}}
    trace = run(engine, sampling=PARTS, max_new_tokens=80, **own)
    drafters = {event.step: event.drafter for event in trace.of_kind(Drafted)}
    steps = [event for event in trace.of_kind(Committed) if drafters[event.step] != "constraint"]
    assert any("accepted" in event.sources and "forced" in event.sources for event in steps)


def test_what_is_not_allowed_has_no_probability_and_what_is_keeps_its_share(
    engine: Engine,
) -> None:
    trace = run(engine, sampling=FORM, trace_top_k=20, max_new_tokens=8)
    table = trace.token_texts
    for place, event in enumerate(trace.of_kind(Verified)):
        chances = zip(event.top_k_token_ids[0], event.top_k_probs[0], strict=True)
        possible = {table[token_id]: prob for token_id, prob in chances if prob > 0}
        wanted = {"-"} if place % 4 == 3 else set("abcdef0123456789")
        assert set(possible) - {"<end>"} == wanted
        assert ("<end>" in possible) == (place % 4 == 3), "after each three it may end"
        assert sum(possible.values()) == pytest.approx(1.0)


def test_a_grammar_is_a_form_as_well(engine: Engine) -> None:
    grammar = 'start: pair+ "."\npair: "(" /[a-c]/ pair? ")"'
    trace = run(engine, sampling={"constraint": f"lark:{grammar}"}, max_new_tokens=60)
    depth = 0
    for character in trace.text:
        depth += {"(": 1, ")": -1}.get(character, 0)
        assert depth >= 0 and (depth > 0 or character in ").")
    drafted = run(
        engine, sampling={"constraint": f"lark:{grammar}"}, max_new_tokens=60, mode="ngram",
        drafter=TREE,
    )  # fmt: skip
    assert drafted.token_ids == trace.token_ids


def test_penalties_biases_and_stop_strings_hold_beside_it(engine: Engine) -> None:
    sampling = {**FORM, "presence_penalty": 1.5, "logit_bias": {"20": 4}}
    plain = run(engine, sampling=sampling, stop=["-a"])
    own = {"mode": "share-sd", "drafter": {"bits": 16, **TREE}}
    drafted = run(engine, sampling=sampling, stop=["-a"], **own)
    assert drafted.token_ids == plain.token_ids and follows(plain.text)
    assert plain.token_ids != run(engine, sampling=FORM, stop=["-a"]).token_ids


def test_sequences_of_a_batch_have_forms_of_their_own(engine: Engine) -> None:
    forms = ["regex:[a-c]{30}", "regex:[0-9]{20}", "regex:(xy)+", "regex:[A-F]{25}"]
    settings = [{"mode": "ngram", "sampling": {"constraint": form}} for form in forms]
    traces = run_batch(engine, [*settings, {"mode": "ngram"}])
    for prompt, form, trace in zip(PROMPTS, forms, traces, strict=False):
        assert trace.token_ids == run(engine, prompt, sampling={"constraint": form}).token_ids
        assert re.match(form.removeprefix("regex:").partition("{")[0], trace.text)


@pytest.mark.parametrize(
    ("sampling", "sentence"),
    [
        ({"constraint": "xml"}, "constraint is 'xml'; give json, json:SCHEMA, regex:EXPRESSION"),
        ({"constraint": "regex:"}, "constraint is 'regex:'"),
        ({"constraint": ""}, "constraint is ''"),
        ({"constraint": "json:{"}, "the schema of the constraint is not JSON"),
        ({**FORM, "ignore_eos": True}, "constraint says where the answer ends, and ignore_eos"),
        ({**FORM, "min_new_tokens": 3}, "and min_new_tokens that it does not"),
    ],
)
def test_what_is_no_constraint_is_told(sampling: dict[str, Any], sentence: str) -> None:
    with pytest.raises(InvalidSettingError) as refused:
        RunConfig.from_dict({"sampling": sampling})
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("constraint", "sentence"),
    [
        ("regex:((", "the constraint cannot be used ("),
        ('json:{"type": "objct"}', "the constraint cannot be used (Invalid type: objct)"),
        ("lark:nonsense", "the constraint cannot be used ("),
    ],
)
def test_a_form_that_cannot_be_read_is_told_before_the_run(
    constraint: str, sentence: str, engine: Engine
) -> None:
    with pytest.raises(InvalidSettingError) as refused:
        run(engine, sampling={"constraint": constraint})
    told = str(refused.value)
    assert sentence in told and told.endswith("give another one.") and "\n" not in told


@pytest.mark.parametrize("mode", ["naive", "ngram"])
def test_a_form_that_the_tokens_cannot_write_ends_the_run_with_a_sentence(
    mode: str, engine: Engine
) -> None:
    """This tokenizer has no space."""
    config = RunConfig.from_dict({"mode": mode, "sampling": {"constraint": "regex:a{3} b"}})
    trace = Trace(list(engine.run(engine.raw_prompt("aaaa aaaa aaaa a"), config)))
    failed = trace.first(RunFailed)
    assert failed is not None and failed.error == "InvalidSettingError"
    assert failed.message.startswith("the constraint allows none of the target's tokens")
    assert set(trace.text) <= {"a"}


def test_a_target_without_an_end_takes_none(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "target", replace(engine.target, eos_token_ids=frozenset()))
    with pytest.raises(InvalidSettingError, match="the target has none; leave constraint out"):
        run(engine, PROMPT, sampling=FORM)
