"""Which sampled texts are kept: length, repetition, broken text, nearness to test questions."""

import hashlib
import json
import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.errors import InvalidSettingError
from core.runtime.text_files import numbered_lines, read_text

_WORD = re.compile(r"\w+")
_SHINGLE_WORDS = 5
# Share of the shorter text's shingles that two texts may have in common.
_MOST_SHARED = 0.3
_NGRAM = 4
_NGRAM_BASE = np.uint64(65_537)
# A text that says everything twice has half as many different n-grams as n-grams.
_LEAST_DISTINCT = 0.5
_BROKEN = "\ufffd"


def words_of(text: str) -> list[str]:
    """Lower-case words, without punctuation."""
    return _WORD.findall(text.lower())


def prompt_key(text: str) -> str:
    """The same for texts that differ in case, spaces and punctuation alone."""
    return hashlib.sha256(" ".join(words_of(text)).encode()).hexdigest()


def is_held_out(text: str, share: float) -> bool:
    """Whether a prompt belongs to the held-out split; a matter of its words alone."""
    return int(prompt_key(text)[:8], 16) < share * (1 << 32)


def is_repetitive(token_ids: NDArray[np.int32]) -> bool:  # [length]
    """Whether fewer than half of the 4-grams are different."""
    count = len(token_ids) - _NGRAM + 1
    if count < 2 * _NGRAM:
        return False
    keys = np.zeros(count, dtype=np.uint64)
    for offset in range(_NGRAM):
        # Wrapping products are a hash, exact for vocabularies of up to 16 bits.
        keys = keys * _NGRAM_BASE + token_ids[offset : offset + count].astype(np.uint64)
    return len(np.unique(keys)) < _LEAST_DISTINCT * count


def is_broken(text: str) -> bool:
    """Whether bytes of no character are in it, or no letter at all."""
    return _BROKEN in text or not any(character.isalpha() for character in text)


class NearDuplicates:
    """Finds texts near to questions that must not be trained on."""

    def __init__(self, questions: list[str]):
        self._keys = {prompt_key(question) for question in questions}
        self._of_shingle: dict[tuple[str, ...], set[int]] = {}
        self._sizes: list[int] = []
        for index, question in enumerate(questions):
            shingles = _shingles(question)
            self._sizes.append(len(shingles))
            for shingle in shingles:
                self._of_shingle.setdefault(shingle, set()).add(index)

    def __call__(self, text: str) -> bool:
        """Whether a text equals a question, or shares too many runs of five words with one."""
        if prompt_key(text) in self._keys:
            return True
        shingles = _shingles(text)
        shared: dict[int, int] = {}
        for shingle in shingles:
            for index in self._of_shingle.get(shingle, ()):
                shared[index] = shared.get(index, 0) + 1
        return any(
            count > _MOST_SHARED * min(len(shingles), self._sizes[index])
            for index, count in shared.items()
        )


def _shingles(text: str) -> set[tuple[str, ...]]:
    words = words_of(text)
    return {
        tuple(words[start : start + _SHINGLE_WORDS])
        for start in range(len(words) - _SHINGLE_WORDS + 1)
    }


def read_questions(path: Path) -> list[str]:
    """All turns of a question file in MT-Bench's format, or the lines of a text file.

    Raises InvalidSettingError for a file that cannot be read, with the line where it breaks.
    """
    lines = numbered_lines(read_text(path, "give a .jsonl of questions, or a text a line"))
    if path.suffix != ".jsonl":
        return [line.strip() for _, line in lines]
    questions: list[str] = []
    for number, line in lines:
        try:
            questions += [str(turn) for turn in json.loads(line)["turns"]]
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidSettingError(
                f"{path}, line {number}, is no question; give an object with a list named turns."
            ) from error
    return questions
