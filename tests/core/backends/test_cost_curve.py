"""T(n): measured, kept, and read between its points."""

from pathlib import Path

import pytest

from core.backends.cost_curve import (
    CONTEXT_BUCKETS,
    ROWS,
    CostCurve,
    Measurement,
    context_bucket,
    load_or_measure,
    measure,
)
from core.backends.runner import ModelRunner
from core.loading.forward import make_runner
from tests.tiny_models import tiny_model


def backend() -> ModelRunner:
    return make_runner(tiny_model("llama"), 512)


def measured(length: int) -> Measurement:
    return measure(backend(), length)


class Stopwatch:
    """A clock whose readings are `per_forward_s` apart, with a hiccup at some readings."""

    def __init__(self, per_forward_s: float, hiccup_s: float = 0.0):
        self.now_s = 0.0
        self.num_readings = 0
        self._per_forward_s = per_forward_s
        self._hiccup_s = hiccup_s

    def __call__(self) -> float:
        self.num_readings += 1
        self.now_s += self._per_forward_s + (self._hiccup_s if self.num_readings % 4 else 0.0)
        return self.now_s


def test_points_are_joined_by_lines_and_the_last_slope_goes_on() -> None:
    curve = CostCurve((1, 2, 4), (1.0, 1.5, 2.5))
    assert [curve(rows) for rows in (1, 2, 3, 4, 6)] == [1.0, 1.5, 2.0, 2.5, 3.5]
    assert curve.to_ms() == {"1": 1000.0, "2": 1500.0, "4": 2500.0}


def test_a_falling_curve_never_becomes_free() -> None:
    assert CostCurve((1, 2), (1.0, 0.5))(60) > 0


@pytest.mark.parametrize(
    ("length", "limit", "bucket"),
    [(10, 8192, 256), (257, 8192, 1024), (9000, 20_000, CONTEXT_BUCKETS[-1]), (50, 100, 36)],
)
def test_buckets_lie_above_the_length_and_within_the_context(
    length: int, limit: int, bucket: int
) -> None:
    assert context_bucket(length, limit) == bucket


def test_every_size_is_measured_within_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.backends.cost_curve._BUDGET_S", 2.0)
    clock = Stopwatch(0.005)
    curve, is_steady = measure(backend(), 64, clock, lambda: clock.now_s)
    assert curve.rows == ROWS
    assert curve.seconds == pytest.approx([0.005] * len(ROWS))
    assert is_steady
    assert clock.now_s < 3.0


def test_forwards_of_seconds_are_measured_at_two_sizes_alone() -> None:
    clock = Stopwatch(1.0)
    curve, _ = measure(backend(), 64, clock)
    assert curve.rows == (1, 2)


def test_fewer_rows_never_cost_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """One row, timed behind the widest forward, finds its caches empty."""
    runner, seconds, now_s = backend(), {1: 0.09, 2: 0.04, 64: 0.2}, [0.0]

    def forward(token_ids: list[int], *arguments: object) -> None:
        now_s[0] += seconds.get(len(token_ids), 0.06)

    def clock() -> float:
        return now_s[0]

    monkeypatch.setattr(runner, "forward_rows", forward)
    curve, _ = measure(runner, 64, clock, clock)
    assert list(curve.seconds) == sorted(curve.seconds)
    assert curve(1) == pytest.approx(0.04) and curve(64) == pytest.approx(0.2)


def test_a_busy_machine_is_noticed_and_its_fastest_forwards_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("core.backends.cost_curve._BUDGET_S", 8.0)
    clock = Stopwatch(0.001, hiccup_s=0.05)
    curve, is_steady = measure(backend(), 64, clock, lambda: clock.now_s)
    assert curve.seconds == pytest.approx([0.001] * len(ROWS))
    assert not is_steady


def test_a_thread_that_waits_for_a_processor_is_no_measure() -> None:
    clock = Stopwatch(0.005)
    assert measure(backend(), 64, clock, lambda: clock.now_s).is_steady
    assert not measure(backend(), 64, clock, lambda: clock.now_s / 2).is_steady


def test_a_measured_curve_is_read_back_and_a_broken_file_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.backends.cost_curve._STEADY_RATIO", 1e9)
    monkeypatch.setattr("core.backends.cost_curve._STEADY_SHARE", 0.0)
    fail = lambda length: pytest.fail("measured again")  # noqa: E731
    first = load_or_measure(tmp_path, "key", measured, 64)
    assert load_or_measure(tmp_path, "key", fail, 64) == first
    (path,) = tmp_path.iterdir()
    path.write_text('{"points": [[1, "x"]]}')
    assert load_or_measure(tmp_path, "key", measured, 64).rows == first.rows
