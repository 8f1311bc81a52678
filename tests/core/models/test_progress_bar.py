"""The line that tells how far the loading of a model is."""

import io
import sys

import pytest

from core.models.progress_bar import ProgressBar, amount_done


def test_amounts_are_told_in_the_unit_of_their_stage() -> None:
    assert amount_done("downloading", 1_500_000, 92_871_040) == "1.5 of 92.9 MB"
    assert amount_done("reading weights", 0, 269_000_000) == "0.0 of 269.0 MB"
    assert amount_done("quantizing", 3, 121) == "3 of 121"
    assert amount_done("compiling the kernels", 0, 0) == ""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_long_work_is_shown_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("core.models.progress_bar._DELAY_S", 0.0)
    with ProgressBar("a-model") as bar:
        bar.show("quantizing", 3, 121)
        bar._timer.join()
        bar.show("quantizing", 4, 121)
    assert "a-model: quantizing" in terminal.getvalue()
    assert "of 121" in terminal.getvalue()


def test_short_work_leaves_no_trace(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with ProgressBar("a-model") as bar:
        bar.show("reading weights", 3, 121)
    bar._timer.join()
    assert terminal.getvalue() == ""
