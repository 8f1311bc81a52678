"""Drafters along batches and costs: their lines, plain decoding's, and who is fastest where."""

from typing import Any

from visualize.figures.drafter_curves import (
    drafter_curves_figure,
    drafter_curves_info,
    winner_words,
)

VALUES: dict[str, Any] = {
    "axis": "batch",
    "values": [1, 4, 64],
    "winners": ["sd-eagle", "ngram", "plain decoding"],
    "lines": [
        {
            "mode": mode,
            "tokens_per_s": speeds,
            "times_plain": [
                speed / plain for speed, plain in zip(speeds, [50, 90, 99], strict=True)
            ],
            "tau": [2.0, 2.0, 1.0],
            "plain_tokens_per_s": [50, 90, 99],
        }
        for mode, speeds in (("sd-eagle", [100, 95, 99]), ("<b>", [80, 99, 90]))
    ],
}


def test_a_drafter_is_a_line_and_plain_decoding_a_dashed_one() -> None:
    info = drafter_curves_info(VALUES)
    assert info.label == ["sd-eagle"] * 3 + ["<b>"] * 3
    assert info.value == [1, 4, 64] * 2
    assert info.times_plain[:2] == [2.0, 95 / 90]
    figure = drafter_curves_figure(info, "dark", here=4)
    eagle, other, plain = figure.data
    assert (list(eagle.y), list(other.y), list(plain.y)) == (
        [100, 95, 99],
        [80, 99, 90],
        [50, 90, 99],
    )
    assert other.name == "&lt;b&gt;"
    assert plain.line.dash == "dash"
    assert eagle.marker.symbol != other.marker.symbol, "told apart without colours"
    assert list(figure.layout.xaxis.ticktext) == ["1", "4", "64"]
    assert [shape.x0 for shape in figure.layout.shapes] == [4]
    times = drafter_curves_figure(info, measure="times_plain")
    assert list(times.data[2].y) == [1.0] * 3
    assert not times.layout.shapes


def test_winners_are_told_where_they_begin() -> None:
    def words(*winners: str) -> str:
        return winner_words(drafter_curves_info({**VALUES, "winners": winners}))

    assert words("a", "a", "b") == "fastest: a, b from 64"
    assert words("a", "b", "a") == "fastest: a, b from 4, a from 64"
    info = drafter_curves_info(VALUES)
    told = drafter_curves_figure(info).layout.title.subtitle.text
    assert told == "fastest: sd-eagle, ngram from 4, plain decoding from 64"
    assert not drafter_curves_figure(info, tells_winners=False).layout.title.subtitle.text
