"""The map of two settings: its data, its best point, and the line where drafting pays."""

from typing import Any

from visualize.figures.setting_map import setting_map_figure, setting_map_info

VALUES: dict[str, Any] = {
    "x": {"name": "depth", "values": [1, 4]},
    "y": {"name": "batch", "values": [1, 8, 64]},
    "tokens_per_s": [[20.0, 30.0], [40.0, 36.0], [60.0, 30.0]],
    "tau": [[1.5, 2.5]] * 3,
    "plain_tokens_per_s": [[15.0, 15.0], [30.0, 30.0], [60.0, 60.0]],
}


def test_every_pair_is_a_row_and_the_fastest_is_marked() -> None:
    info = setting_map_info(VALUES, "sd-eagle")
    assert info.x == [1, 4, 1, 4, 1, 4]
    assert info.y == [1, 1, 8, 8, 64, 64]
    assert info.times_plain == [20 / 15, 2.0, 40 / 30, 1.2, 1.0, 0.5]
    assert info.best == 4
    figure = setting_map_figure(info, "dark")
    kinds = [trace.type for trace in figure.data]
    assert kinds == ["heatmap", "contour", "scatter"]
    heat, line, star = figure.data
    assert [list(row) for row in heat.z] == VALUES["tokens_per_s"]
    assert (line.contours.start, line.contours.end) == (1.0, 1.0)
    assert (list(star.x), list(star.y)) == ([0], [2])
    assert list(figure.layout.xaxis.ticktext) == ["1", "4"]
    assert figure.layout.xaxis.title.text == "depth of a draft"


def test_a_map_of_gains_marks_the_pair_that_gains_most() -> None:
    figure = setting_map_figure(setting_map_info(VALUES, "sd-eagle"), measure="times_plain")
    star = figure.data[-1]
    assert (list(star.x), list(star.y)) == ([1], [0])


def test_where_drafting_always_pays_there_is_no_line() -> None:
    always = {**VALUES, "plain_tokens_per_s": [[1.0, 1.0]] * 3}
    figure = setting_map_figure(setting_map_info(always, "sd-eagle"), measure="tau")
    assert [trace.type for trace in figure.data] == ["heatmap", "scatter"]
    assert [list(row) for row in figure.data[0].z] == VALUES["tau"]
