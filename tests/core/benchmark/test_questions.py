"""Question files: the project's own, MT-Bench's form, and what is wrong with others."""

import json
from collections import Counter
from pathlib import Path

import pytest

from core.benchmark.question_sets import questions_file
from core.benchmark.questions import Question, load_questions, pick_questions
from core.errors import InvalidSettingError

GOOD = {"question_id": 81, "category": "writing", "turns": ["Write a post.", "Shorter."]}


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_the_long_questions_are_each_another_long_text() -> None:
    questions = load_questions(questions_file("long"))
    texts = [question.turns[0] for question in questions]
    assert len(set(texts)) == len(texts) == 4
    assert all(500 < len(text.split()) < 800 for text in texts)


SPEC_BENCH_TASKS = ("translation", "summarization", "qa", "math_reasoning", "rag")


def test_the_questions_of_spec_bench_are_of_six_tasks(tmp_path: Path) -> None:
    categories = ["writing", "coding", *SPEC_BENCH_TASKS]
    lines = [
        json.dumps({**GOOD, "question_id": number, "category": category})
        for number, category in enumerate(categories, start=1)
    ]
    questions = load_questions(write(tmp_path / "q.jsonl", *lines))
    assert [question.category for question in questions] == [
        "mt_bench", "mt_bench", *SPEC_BENCH_TASKS,
    ]  # fmt: skip
    of_mt_bench = load_questions(write(tmp_path / "q.jsonl", *lines[:3]))
    assert [question.category for question in of_mt_bench] == categories[:3]


def test_without_the_hub_mt_bench_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(InvalidSettingError, match=r"^the hub gave no questions .* question.jsonl"):
        questions_file("mt-bench")


def test_the_own_questions_are_ten_two_turn_ones_in_each_of_eight_categories() -> None:
    questions = load_questions(questions_file("own"))
    assert Counter(question.category for question in questions) == dict.fromkeys(
        (
            "chat", "summary", "edit", "code", "extraction", "reasoning", "writing", "knowledge",
        ),
        10,
    )  # fmt: skip
    assert all(len(question.turns) == 2 for question in questions)
    assert len({question.turns[0] for question in questions}) == 80


def test_a_file_of_mt_bench_is_read_with_its_references_left_alone(tmp_path: Path) -> None:
    line = json.dumps({**GOOD, "reference": ["...", "..."]})
    path = write(tmp_path / "question.jsonl", line, "", json.dumps({**GOOD, "question_id": 82}))
    first, second = load_questions(path)
    assert first == Question(81, "writing", ("Write a post.", "Shorter."))
    assert second.question_id == 82


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1]", "no JSON object"),
        (json.dumps({**GOOD, "question_id": "a"}), "question_id is 'a'"),
        (json.dumps({**GOOD, "question_id": True}), "question_id is True"),
        (json.dumps({**GOOD, "category": " "}), "category is ' '"),
        (json.dumps({**GOOD, "turns": []}), "no list of texts"),
        (json.dumps({**GOOD, "turns": "Write"}), "no list of texts"),
        (json.dumps({**GOOD, "turns": ["", "b"]}), "no list of texts"),
        (json.dumps({"question_id": 3, "category": "a"}), "no list of texts"),
        (json.dumps(GOOD), "there already"),
    ],
)
def test_a_bad_line_is_named_by_its_number(tmp_path: Path, line: str, complaint: str) -> None:
    path = write(tmp_path / "q.jsonl", json.dumps(GOOD), line)
    with pytest.raises(InvalidSettingError, match="line 2") as caught:
        load_questions(path)
    assert complaint in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\n\n", b"\xff\xfe"])
def test_a_file_without_questions_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "q.jsonl"
    path.write_bytes(content)
    with pytest.raises(InvalidSettingError, match="give"):
        load_questions(path)


def test_a_missing_file_is_told_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingError, match="cannot be read"):
        load_questions(tmp_path / "none.jsonl")


QUESTIONS = [
    Question(number, category, ("?",))
    for number, category in enumerate(("a", "a", "a", "b", "b", "c"), start=1)
]


def test_a_limit_takes_the_categories_in_turn() -> None:
    picked = pick_questions(QUESTIONS, limit=4)
    assert [question.question_id for question in picked] == [1, 4, 6, 2]


def test_without_a_limit_every_question_is_taken_once() -> None:
    picked = pick_questions(QUESTIONS)
    assert sorted(question.question_id for question in picked) == [1, 2, 3, 4, 5, 6]


def test_only_the_named_categories_are_taken() -> None:
    picked = pick_questions(QUESTIONS, categories=("c", "b"))
    assert [question.question_id for question in picked] == [4, 6, 5]


@pytest.mark.parametrize(("categories", "limit"), [(("d",), None), ((), 0), ((), -1)])
def test_an_unknown_category_and_a_limit_below_one_are_refused(
    categories: tuple[str, ...], limit: int | None
) -> None:
    with pytest.raises(InvalidSettingError, match="give"):
        pick_questions(QUESTIONS, categories, limit)
