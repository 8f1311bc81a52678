"""Histograms as Prometheus reads them."""

from app.runs.histogram import Histogram


def test_classes_add_up_and_a_bound_belongs_to_its_own_class() -> None:
    histogram = Histogram([1, 2.5])
    histogram.add([0.5, 1, 2, 9])
    assert dict(histogram.values()) == {
        '_bucket{le="1"}': 2, '_bucket{le="2.5"}': 3, '_bucket{le="+Inf"}': 4, "_sum": 12.5, "_count": 4,
    }  # fmt: skip


def test_a_copy_stays_as_it_was() -> None:
    histogram = Histogram([1])
    copied = histogram.copy()
    histogram.add([0.5])
    assert dict(copied.values())["_count"] == 0
