"""What is remembered, for how long, and on disk."""

import copy
import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from core.drafters.memory_file import asked_memory, keep_memory, load_memory, save_memory
from core.drafters.suffix_memory import MAX_TOKENS, MemoryView, SuffixMemory
from core.errors import InvalidSettingError, StorageError


def memory_of(*answers: list[int], most: int = MAX_TOKENS) -> SuffixMemory:
    memory = SuffixMemory(most)
    for answer in answers:
        memory.add(answer)
    return memory


def test_the_oldest_answers_make_room() -> None:
    memory = memory_of([1, 2, 3], [4, 5], [6, 7, 8], most=6)
    assert memory.answers == [[4, 5], [6, 7, 8]]
    assert memory.num_tokens == 5
    memory.add([9])
    assert memory.answers == [[4, 5], [6, 7, 8], [9]]


def test_of_an_answer_that_does_not_fit_the_end_stays() -> None:
    memory = memory_of([1], list(range(10)), most=4)
    assert memory.answers == [[6, 7, 8, 9]]
    assert memory.num_tokens == 4


def test_an_answer_without_tokens_is_none() -> None:
    assert memory_of([], [1]).answers == [[1]]


def test_a_view_sees_what_there_was_when_it_was_asked_first() -> None:
    memory = memory_of([1, 2])
    early = MemoryView(memory)
    assert early.to_dict()["num_answers"] == 1
    memory.add([3])
    assert early.index.num_answers == 1
    assert MemoryView(memory).to_dict()["num_tokens"] == 3


@pytest.mark.parametrize(
    "again", [copy.copy, lambda memory: pickle.loads(pickle.dumps(memory))], ids=["copy", "pickle"]
)
def test_a_copy_goes_on_by_itself(again: Callable[[SuffixMemory], SuffixMemory]) -> None:
    memory = memory_of([1, 2], most=4)
    memory.tokenizer = "key"
    memory.index()
    other = again(memory)
    other.add([3, 4, 5])
    assert other.tokenizer == "key" and other.answers == [[3, 4, 5]]
    assert other.index().num_tokens == 3
    assert memory.answers == [[1, 2]] and memory.num_tokens == 2


def test_it_belongs_to_the_tokenizer_of_its_first_run() -> None:
    memory = memory_of([1, 9])
    memory.belong_to("a", 10)
    memory.belong_to("a", 12)
    with pytest.raises(InvalidSettingError, match="tokens of another tokenizer"):
        memory.belong_to("b", 10)
    with pytest.raises(InvalidSettingError, match="holds token id 9, and the target has 9 ids"):
        memory.belong_to("a", 9)


def test_a_file_gives_back_what_was_written(tmp_path: Path) -> None:
    memory = memory_of([1, 2, 3], [4])
    memory.tokenizer = "key"
    path = tmp_path / "memory.jsonl"
    keep_memory(memory, path)
    again = asked_memory(path)
    assert again is not None
    assert again.answers == [[1, 2, 3], [4]] and again.tokenizer == "key"
    assert [item.name for item in tmp_path.iterdir()] == ["memory.jsonl"]


def test_an_empty_one_can_be_written_and_read(tmp_path: Path) -> None:
    keep_memory(SuffixMemory(), tmp_path / "memory.jsonl")
    assert load_memory(tmp_path / "memory.jsonl").answers == []


def test_a_file_that_is_not_there_yet_begins_empty(tmp_path: Path) -> None:
    memory = asked_memory(tmp_path / "new.jsonl")
    assert memory is not None and memory.answers == [] and memory.tokenizer is None


def test_without_a_file_nothing_is_written() -> None:
    memory = asked_memory(True)
    assert memory is not None and asked_memory(None) is None
    keep_memory(memory, True)


def test_a_disk_that_takes_nothing_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        keep_memory(SuffixMemory(), tmp_path / "missing" / "memory.jsonl")
    with pytest.raises(InvalidSettingError, match="cannot be written"):
        asked_memory(tmp_path / "missing" / "memory.jsonl")


HEADER = json.dumps({"format": "specdecodes-memory", "version": 1, "tokenizer": "key"})


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "no specdecodes-memory header"),
        (b"\x00\x01\x02", "bytes of 0"),
        (b"\xff\xfe1", "UTF-16"),
        (b"\x80PNG", "not UTF-8"),
        (b"[1, 2]\n", "no specdecodes-memory header"),
        (b'{"format": "specdecodes-trace", "version": 1}\n', "no specdecodes-memory header"),
        (b'{"format": "specdecodes-memory", "version": 1}\n', "no specdecodes-memory header"),
        (HEADER.replace("1,", "2,").encode(), "has version 2, and this program reads 1"),
        (f"{HEADER}\n[1, 2\n".encode(), "line 2: it is no answer"),
        (f"{HEADER}\n[1]\n[]\n".encode(), "line 3: it is no answer"),
        (f'{HEADER}\n["1"]\n'.encode(), "line 2: it is no answer"),
        (f"{HEADER}\n[true]\n".encode(), "line 2: it is no answer"),
        (f"{HEADER}\n[-1]\n".encode(), "line 2: it is no answer"),
        (f"{HEADER}\n[4294967296]\n".encode(), "line 2: it is no answer"),
        (f"{HEADER}\n{'[' * 9999}\n".encode(), "line 2: it is no answer"),
    ],
)
def test_a_file_of_something_else_is_refused_in_a_sentence(
    content: bytes, told: str, tmp_path: Path
) -> None:
    path = tmp_path / "memory.jsonl"
    path.write_bytes(content)
    with pytest.raises(InvalidSettingError, match=told) as raised:
        load_memory(path)
    assert "\n" not in str(raised.value)


def test_a_file_that_is_far_too_large_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.drafters.memory_file._MAX_FILE_BYTES", 10)
    save_memory(memory_of([1, 2, 3]), tmp_path / "memory.jsonl")
    with pytest.raises(InvalidSettingError, match="bytes, and a memory at most 10"):
        load_memory(tmp_path / "memory.jsonl")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettingError, match="cannot be"):
        asked_memory(tmp_path)
