"""Random input to everything that takes some: no stack trace, no hang, nothing lost.

A small share runs with the other tests; `python -m pytest tests/fuzz -m slow` tries all of it.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from tests.fuzz.offline_targets import OFFLINE_TARGETS, Target
from tests.fuzz.served_targets import SERVED_TARGETS, Visit
from tests.own_cache import own_cache

SHARES = [0.03, pytest.param(1.0, marks=pytest.mark.slow, id="whole")]


def tried(target: Target, share: float) -> None:
    @settings(
        max_examples=max(1, round(target.num_inputs * share)),
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(target.inputs)
    def check(given_input: object) -> None:
        target.check(given_input)

    check()


@pytest.fixture(scope="module")
def visit() -> Iterator[Visit]:
    with Visit.begin() as visit:
        yield visit


@pytest.fixture(autouse=True)
def own_cache_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPECDECODES_HOME", own_cache(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_the_whole_of_it_is_ten_thousand_inputs_and_more() -> None:
    assert sum(target.num_inputs for target in (*OFFLINE_TARGETS, *SERVED_TARGETS)) >= 10_000


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("target", OFFLINE_TARGETS, ids=lambda target: target.name)
def test_input_is_refused_in_a_sentence_or_read_whole(target: Target, share: float) -> None:
    tried(target, share)


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("target", SERVED_TARGETS, ids=lambda target: target.name)
def test_the_server_answers_everything_and_loses_nothing(
    target: Target, share: float, visit: Visit, capfd: pytest.CaptureFixture[str]
) -> None:
    tried(target._replace(check=lambda sent: target.check((visit, sent))), share)
    visit.check_nothing_is_lost()
    assert own_frames(capfd.readouterr().err) == ""


def own_frames(printed: str) -> str:
    """Frames of the program's own rooms in what the server printed."""
    rooms = ("/app/", "/core/", "/visualize/")
    root = str(Path(__file__).parents[2])
    return "\n".join(
        line
        for line in printed.splitlines()
        if line.lstrip().startswith(f'File "{root}') and any(room in line for room in rooms)
    )
