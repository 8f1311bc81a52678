"""What reads input without a server: files of traces and questions, settings, names of models.

A target is a strategy and a check; the check raises where the input did harm.
"""

import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from hypothesis import strategies as st

from app.runs.run_form import config_from_values, mode_fields, run_fields, values_from_config
from core.benchmark.question_sets import OWN, questions_file
from core.benchmark.questions import load_questions
from core.config import RunConfig
from core.errors import (
    InvalidSettingError,
    ModelUnavailableError,
    SpecDecodesError,
    TraceFormatError,
)
from core.models.sources import find_model
from core.modes.registry import mode_names, settings_class
from core.runtime.storage import no_progress
from core.trace.file import decoded_lines, read_trace
from tests.fuzz.junk import broken_bytes, odd_texts, odd_values
from tests.visualize.strategies import mutated_traces, written
from tests.visualize.trace_builder import CHAIN, FORK, make_trace
from visualize.imports.columns import IMPORT_COLUMNS
from visualize.imports.reading import read_import
from visualize.imports.tables import import_frame
from visualize.imports.words import word_tables


class Target(NamedTuple):
    """Something that reads input, and how many inputs it gets when all are tried."""

    name: str
    inputs: st.SearchStrategy[Any]
    check: Callable[[Any], None]
    num_inputs: int


def check_sentence(error: SpecDecodesError) -> None:
    """What was refused is told in one readable line."""
    message = str(error)
    assert message.strip(), "it says nothing"
    assert "\n" not in message, f"it has lines: {message[:200]!r}"
    assert len(message) < 1000, f"{len(message)} characters"
    message.encode("utf-8")


def _read_trace(content: bytes) -> None:
    try:
        trace = read_trace(decoded_lines(io.BytesIO(content)))
    except TraceFormatError as error:
        check_sentence(error)
        return
    assert read_trace(io.StringIO(written(trace))) == trace


def _read_import(content: bytes) -> None:
    try:
        sources = read_import(content, "<b>")
    except InvalidSettingError as error:
        check_sentence(error)
        return
    for table in IMPORT_COLUMNS:
        import_frame(sources, table)
    for table_of_words in word_tables(sources):
        json.dumps(table_of_words, allow_nan=False).encode("utf-8")


@st.composite
def mutated_imports(draw: st.DrawFn) -> bytes:
    """A file of another program in whose lines a few values are odd."""
    content = draw(st.sampled_from(_IMPORTS))
    if not content.startswith(b"{"):
        return draw(broken_bytes(content))
    try:
        entries = [json.loads(line) for line in content.splitlines()]
    except ValueError:
        entries = [json.loads(content)]
    for _ in range(draw(st.integers(1, 3))):
        place: Any = entries
        while True:
            keys = sorted(place) if isinstance(place, dict) else range(len(place))
            key = draw(st.sampled_from(list(keys)))
            inner = place[key]
            if not isinstance(inner, dict | list) or not inner or draw(st.integers(0, 5)) == 0:
                break
            place = inner
        place[key] = draw(odd_values)
    return b"\n".join(json.dumps(entry).encode() for entry in entries) + b"\n"


def _read_questions(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "questions.jsonl"
        path.write_bytes(content)
        try:
            questions = load_questions(path)
        except InvalidSettingError as error:
            check_sentence(error)
            return
    assert questions and all(question.turns for question in questions)


def _make_config(values: dict[str, Any]) -> None:
    try:
        config = RunConfig.from_dict(values)
    except InvalidSettingError as error:
        check_sentence(error)
        return
    again = json.loads(json.dumps(config.to_dict(), allow_nan=False))
    assert RunConfig.from_dict(again) == config


def _fill_form(values: dict[str, Any]) -> None:
    try:
        config = config_from_values(values)
    except InvalidSettingError as error:
        check_sentence(error)
        return
    assert config_from_values(values_from_config(config)) == config


def _name_model(name: str) -> None:
    try:
        find_model(name, no_progress)
    except ModelUnavailableError as error:
        check_sentence(error)
    else:
        raise AssertionError(f"{name!r} is a model")


@st.composite
def settings_values(draw: st.DrawFn) -> dict[str, Any]:
    """Settings of a run as a dict, of which a few are odd."""
    mode = draw(st.sampled_from(mode_names()))
    values: dict[str, Any] = {"mode": mode}
    cls = settings_class(mode)
    groups: list[tuple[dict[str, Any], dict[str, Any]]] = [(values, RunConfig().to_dict())]
    for name, defaults in (
        ("sampling", RunConfig().sampling.to_dict()),
        ("drafter", cls().to_dict() if cls else {}),
    ):
        values[name] = {}
        groups.append((values[name], defaults))
    for given_values, defaults in groups:
        for key in draw(st.lists(st.sampled_from(sorted(defaults) or ["none"]), max_size=2)):
            given_values[key] = draw(odd_values | st.just(defaults.get(key)))
    if draw(st.integers(0, 9)) == 0:
        draw(st.sampled_from(groups))[0][draw(odd_texts)] = draw(odd_values)
    return values


@st.composite
def form_values(draw: st.DrawFn) -> dict[str, Any]:
    """The page's form, of which a few fields hold something odd."""
    mode = draw(st.sampled_from(mode_names()))
    fields = [*run_fields(), *mode_fields(mode)]
    values: dict[str, Any] = {"mode": mode, **{field.key: field.default for field in fields}}
    for key in draw(st.lists(st.sampled_from(sorted(values)), max_size=3)):
        values[key] = draw(odd_values)
    return values


_TRACE = written(make_trace(CHAIN, FORK)).encode()
_FILES = Path(__file__).parents[1] / "visualize" / "imports" / "files"
_IMPORTS = [path.read_bytes() for path in sorted(_FILES.iterdir()) if path.suffix != ".md"]
_QUESTIONS = b"".join(questions_file(OWN).read_bytes().splitlines(keepends=True)[:3])

OFFLINE_TARGETS = (
    Target("broken trace files", broken_bytes(_TRACE), _read_trace, 3000),
    Target("mutated traces", mutated_traces().map(str.encode), _read_trace, 1000),
    Target("files of other programs", mutated_imports(), _read_import, 2000),
    Target("question files", broken_bytes(_QUESTIONS), _read_questions, 2500),
    Target("settings", settings_values(), _make_config, 3000),
    Target("forms", form_values(), _fill_form, 2500),
    Target("model names", odd_texts, _name_model, 500),
)
