"""Two settings against each other: how fast each pair is, the best one, and where drafting pays."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

import plotly.graph_objects as go

from visualize.figures.style import finish_figure
from visualize.labels import figure_text
from visualize.palette import ORANGE, VERMILION, Theme

Measure = Literal["tokens_per_s", "tau", "times_plain"]
MEASURES: Final[dict[Measure, str]] = {
    "tokens_per_s": "tokens per second",
    "tau": "tokens a step",
    "times_plain": "times plain decoding",
}
AXIS_WORDS: Final = {
    "num_nodes": "draft tokens a step",
    "depth": "depth of a draft",
    "branching": "children of a node",
    "min_match": "shortest match",
    "batch": "sequences side by side",
    "verification": "times the cost of verification",
    "drafting": "times the cost of drafting",
}


class SettingMapInfo(NamedTuple):
    """A row a pair of settings, which one is best, and what the map is of."""

    x: list[float]
    y: list[float]
    tokens_per_s: list[float]
    tau: list[float]
    times_plain: list[float]
    """Tokens per second over those of plain decoding under the same costs."""
    x_name: str
    y_name: str
    label: str
    """Of the mode."""
    best: int
    """Place of the pair with the most tokens per second."""


def setting_map_info(values: Mapping[str, Any], label: str) -> SettingMapInfo:
    """Of a map as `core.profile.prediction.GridMap.to_dict` tells it."""
    x_values, y_values = values["x"]["values"], values["y"]["values"]
    speeds, plain = _flat(values["tokens_per_s"]), _flat(values["plain_tokens_per_s"])
    return SettingMapInfo(
        x=[x for _ in y_values for x in x_values],
        y=[y for y in y_values for _ in x_values],
        tokens_per_s=speeds,
        tau=_flat(values["tau"]),
        times_plain=[own / other for own, other in zip(speeds, plain, strict=True)],
        x_name=values["x"]["name"],
        y_name=values["y"]["name"],
        label=label,
        best=max(range(len(speeds)), key=speeds.__getitem__),
    )


def _flat(rows: Sequence[Sequence[float]]) -> list[float]:
    return [value for row in rows for value in row]


def setting_map_figure(
    info: SettingMapInfo, theme: Theme = "light", measure: Measure = "tokens_per_s"
) -> go.Figure:
    """A heat map with a star at the best pair and a line where drafting begins to pay."""
    x_values, y_values = list(dict.fromkeys(info.x)), list(dict.fromkeys(info.y))
    width = len(x_values)

    def rows(values: Sequence[float]) -> list[list[float]]:
        return [list(values[start : start + width]) for start in range(0, len(values), width)]

    shown: list[float] = getattr(info, measure)
    figure = go.Figure(
        go.Heatmap(
            x=list(range(width)),
            y=list(range(len(y_values))),
            z=rows(shown),
            colorscale="Cividis",
            colorbar={"title": {"text": MEASURES[measure], "side": "right"}, "thickness": 12},
            customdata=[[[x, y, ratio] for x, y, ratio in line] for line in _triples(info, width)],
            hovertemplate=(
                f"{info.x_name} %{{customdata[0]}}, {info.y_name} %{{customdata[1]}}<br>"
                f"{MEASURES[measure]} %{{z:.2f}}<br>"
                "%{customdata[2]:.2f} times plain<extra></extra>"
            ),
        )
    )
    if min(info.times_plain) < 1.0 < max(info.times_plain):
        figure.add_trace(_paying_line(rows(info.times_plain)))
    # Along sequences side by side the fastest pair need not be the one that gains most.
    gains = measure == "times_plain"
    best = max(range(len(shown)), key=shown.__getitem__) if gains else info.best
    figure.add_trace(_best_star(best, width))
    figure.update_xaxes(tickvals=list(range(width)), ticktext=[f"{x:g}" for x in x_values])
    figure.update_yaxes(tickvals=list(range(len(y_values))), ticktext=[f"{y:g}" for y in y_values])
    return finish_figure(
        figure,
        title=f"{figure_text(info.label)}: {MEASURES[measure]}",
        subtitle=f"star: {'gains most' if gains else 'the fastest'}; line: where drafting pays",
        x_title=AXIS_WORDS.get(info.x_name, info.x_name),
        y_title=AXIS_WORDS.get(info.y_name, info.y_name),
        theme=theme,
        is_empty=False,
    )


def _triples(info: SettingMapInfo, width: int) -> list[list[tuple[float, float, float]]]:
    every = list(zip(info.x, info.y, info.times_plain, strict=True))
    return [every[start : start + width] for start in range(0, len(every), width)]


def _paying_line(times_plain: list[list[float]]) -> go.Contour:
    return go.Contour(
        z=times_plain,
        contours={"start": 1.0, "end": 1.0, "size": 1.0, "coloring": "none"},
        line={"color": VERMILION, "width": 3},
        showscale=False,
        hoverinfo="skip",
        name="drafting pays",
        showlegend=False,
    )


def _best_star(best: int, width: int) -> go.Scatter:
    down, across = divmod(best, width)
    return go.Scatter(
        x=[across],
        y=[down],
        mode="markers",
        marker={
            "symbol": "star",
            "size": 18,
            "color": ORANGE,
            "line": {"color": "#1f2933", "width": 1},
        },
        hoverinfo="skip",
        showlegend=False,
    )
