"""Text from outside is UTF-8, with or without a mark, and lines end at \\n and \\r\\n alone."""

import io
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from app.runs.batch import _prompts as prompts_of_page
from app.server.accounts import read_accounts
from core.attached.event_stream import lines_of_stream
from core.benchmark.questions import load_questions
from core.errors import InvalidSettingError
from core.runtime.text_files import decode_text, lines_of, numbered_lines, read_text
from core.train.filters import read_questions

ODD = "a\u2028b\u2029c\x0bd\x0ce\x85f\x1cg"
MARK = b"\xef\xbb\xbf"


def test_only_line_feeds_end_lines() -> None:
    text = f"{ODD}\r\n\n last \r one\r\n"
    assert lines_of(text) == [ODD, "", " last \r one"]
    assert list(numbered_lines(text)) == [(1, ODD), (3, " last \r one")]
    assert lines_of("") == [] and lines_of("\n") == [""] and lines_of("a\nb") == ["a", "b"]


def test_a_mark_at_the_start_is_no_text() -> None:
    assert decode_text(MARK + "\ufeffä".encode(), "it", "give more") == "\ufeffä"


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("Fuchs".encode("utf-16"), "F is UTF-16 text; save it as UTF-8, or give another."),
        ("Fuchs\n".encode("utf-16-be"), "F, line 1: it holds bytes of 0, as no text does; give"),
        (b"a\nb\x00c\n", "F, line 2: it holds bytes of 0"),
        (b"a\n\nStra\xdfe\n", "F, line 3: it is not UTF-8 text (byte 0xDF); save it as UTF-8, or"),
        (b"\x89PNG\r\n\x1a\n", "F, line 1: it is not UTF-8 text (byte 0x89)"),
        (None, "F cannot be read (No such file or directory); give another."),
    ],
)
def test_what_is_no_text_is_one_sentence_with_its_line(
    content: bytes | None, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path("F").write_bytes(content)
    with pytest.raises(InvalidSettingError) as caught:
        read_text(Path("F"), "give another")
    assert str(caught.value).startswith(sentence) and str(caught.value).endswith(".")


def test_a_dash_is_the_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    piped = io.TextIOWrapper(io.BytesIO(MARK + "über\r\n".encode()), encoding="ascii")
    monkeypatch.setattr(sys, "stdin", piped)
    assert read_text(Path("-"), "give another") == "über\r\n"
    monkeypatch.setattr(sys, "stdin", None)
    assert read_text(Path("-"), "give another") == ""


QUESTION = '{"question_id": 1, "category": "chat", "turns": ["%s"]}'
# JSON has no raw control characters in its strings.
ODD_IN_JSON = "a\u2028b\u2029c\x85d"


@pytest.mark.parametrize(
    ("read", "line", "found"),
    [
        (lambda path: load_questions(path)[0].turns[0], QUESTION % ODD_IN_JSON, ODD_IN_JSON),
        (lambda path: read_questions(path)[0], QUESTION % ODD_IN_JSON, ODD_IN_JSON),
        (lambda path: read_questions(path.rename(f"{path}.txt"))[0], ODD, ODD),
        (lambda path: prompts_of_page(read_text(path, ""))[0], ODD, ODD),
    ],
    ids=["questions", "excluded questions", "training prompts", "prompts of the page"],
)
def test_readers_of_lines_take_marks_and_odd_characters(
    read: Callable[[Path], str], line: str, found: str, tmp_path: Path
) -> None:
    path = tmp_path / "lines.jsonl"
    path.write_bytes(MARK + line.encode() + b"\r\n")
    assert read(path) == found


def test_the_first_account_of_a_file_with_a_mark_may_come_in(tmp_path: Path) -> None:
    path = tmp_path / "accounts"
    path.write_bytes(MARK + "eve:apple\u2028pie\r\n".encode())
    accounts = read_accounts(path)
    assert accounts is not None
    assert accounts._digests.keys() == {"eve"}
    assert accounts._digests == read_accounts(_without_mark(path))._digests  # type: ignore[union-attr]


def _without_mark(path: Path) -> Path:
    path.write_bytes("eve:apple\u2028pie\n".encode())
    return path


def test_a_stream_of_events_is_cut_at_line_feeds_alone() -> None:
    pieces = ['data: {"a": "x\u2028y"', "}\n", "\nda", "ta: 1\ndata: 2"]
    assert list(lines_of_stream(pieces)) == [
        'data: {"a": "x\u2028y"}', "", "data: 1", "data: 2",
    ]  # fmt: skip
