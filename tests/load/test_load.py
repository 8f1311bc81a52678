"""The load script finds nothing on a small page, and would find what it is there for."""

from pathlib import Path

import pytest

from tests.load.visitor import Answer, Asked
from tests.load.visitors import _num_overtaken, main
from tests.own_cache import own_cache
from tests.tiny_folder import save_tiny_model


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["0", "2"])
def test_a_few_visitors_get_what_is_theirs(
    workers: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SPECDECODES_HOME", own_cache(tmp_path / "cache"))
    target = save_tiny_model(tmp_path / "target")
    words = ["--visitors", "4", "--minutes", "0.3", "--target", target, "--workers", workers]
    assert main([*words, "--modes", "naive,ngram"]) == 0


def message(run: str = "a", seq: int = 0, tokens: str = "[]") -> str:
    event = f'{{"kind":"committed","token_ids":{tokens}}}'
    return f'{{"run":"{run}","seq":{seq},"status":{{"phase":"running"}},"events":[{event}]}}'


def test_lost_and_mixed_messages_are_noticed() -> None:
    answer = Answer()
    answer.take(message(tokens="[1,2]"))
    answer.take(message(seq=1, tokens="[3]"))
    assert answer.token_ids == [1, 2, 3]
    with pytest.raises(ValueError, match="missing"):
        answer.take(message(seq=3))
    with pytest.raises(ValueError, match="another run"):
        answer.take(message(run="b", seq=2))


def test_a_run_that_is_overtaken_is_noticed() -> None:
    assert _num_overtaken([Asked(0.0, 10.0), Asked(1.0, 9.0), Asked(5.0, None)]) == 0
    assert _num_overtaken([Asked(0.0, 20.0), Asked(10.0, 11.0)]) == 1
