"""Whether a comparison says that a program runs slower in it than alone."""

import pytest

from core.benchmark.measurement import Answer, Emission
from core.benchmark.peer_pace import PeerPace, fastest_paces, pace_table
from core.decoding.run_start import Prompt
from core.errors import DrafterUnavailableError
from core.runtime.peak_memory import ProcessMemory
from tests.core.benchmark.scripted_runner import ScriptedRunner

NO_MEMORY = ProcessMemory(0)


def test_a_difference_of_more_than_a_twentieth_is_told() -> None:
    paces = {
        "one": PeerPace(100.0, 95.0),
        "two": PeerPace(100.0, 94.0),
        "three": PeerPace(100, 106),
    }
    (table,) = pace_table(paces)
    assert table.rows[1] == ("two", "100.0", "94.0", "0.94")
    assert table.note.startswith("two, three: more than 5% apart")
    assert pace_table({"one": paces["one"]})[0].note == ""
    assert pace_table({}) == []


def test_the_fastest_answer_counts_and_never_the_first() -> None:
    seconds = iter([1.0, 4.0, 2.0, 5.0])

    def answer(prompt: Prompt) -> Answer:
        return Answer(emissions=[Emission(0.5, 3), Emission(0.5 + next(seconds), 8)])

    here, elsewhere = ScriptedRunner("one", answer), ScriptedRunner("two", answer)
    here.memory = NO_MEMORY
    assert fastest_paces([here, elsewhere], Prompt("", [1])) == {"one": 4.0}
    assert elsewhere.prompts == []


def test_a_program_that_cannot_answer_ends_the_comparison_before_it_begins() -> None:
    runner = ScriptedRunner("one", lambda prompt: Answer(error="no room."))
    runner.memory = NO_MEMORY
    with pytest.raises(DrafterUnavailableError, match=r"one fails at its first answer \(no room\)"):
        fastest_paces([runner], Prompt("", [1]))
