"""Drafters side by side: the best settings of each along batches or costs, and which one is fastest."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import plotly.graph_objects as go

from visualize.figures.setting_map import AXIS_WORDS, MEASURES, Measure
from visualize.figures.style import finish_figure
from visualize.labels import figure_text
from visualize.palette import GREY, RUN_COLOURS, Theme

PLAIN = "plain decoding"


class DrafterCurvesInfo(NamedTuple):
    """A row a drafter and value, and the fastest at each value."""

    label: list[str]
    value: list[float]
    tokens_per_s: list[float]
    tau: list[float]
    times_plain: list[float]
    plain_tokens_per_s: list[float]
    winners: list[str]
    """One for each value."""
    axis: str


def drafter_curves_info(values: Mapping[str, Any]) -> DrafterCurvesInfo:
    """Of curves as `core.profile.side_by_side.Curves.to_dict` tells them."""
    info = DrafterCurvesInfo([], [], [], [], [], [], list(values["winners"]), values["axis"])
    for line in values["lines"]:
        info.label.extend([line["mode"]] * len(values["values"]))
        info.value.extend(values["values"])
        for name in ("tokens_per_s", "tau", "times_plain", "plain_tokens_per_s"):
            getattr(info, name).extend(line[name])
    return info


def winner_words(info: DrafterCurvesInfo) -> str:
    """Who is fastest where, in a few words."""
    parts: list[str] = []
    last = ""
    for value, name in zip(dict.fromkeys(info.value), info.winners, strict=True):
        if name != last:
            parts.append(f"{name} from {value:g}" if parts else name)
        last = name
    return "fastest: " + ", ".join(parts) if parts else ""


def drafter_curves_figure(
    info: DrafterCurvesInfo,
    theme: Theme = "light",
    measure: Measure = "tokens_per_s",
    here: float | None = None,
    *,
    tells_winners: bool = True,
) -> go.Figure:
    """A line a drafter; plain decoding is dashed, and `here` a dotted line down. The winners are told
    below the title, unless somebody else tells them."""
    values = list(dict.fromkeys(info.value))
    width = len(values)
    figure = go.Figure()
    shown: list[float] = getattr(info, measure)
    for place, start in enumerate(range(0, len(info.label), width)):
        figure.add_trace(
            go.Scatter(
                x=values,
                y=shown[start : start + width],
                name=figure_text(info.label[start]),
                mode="lines+markers",
                line={"color": RUN_COLOURS[place % len(RUN_COLOURS)], "width": 2.5},
                marker={"symbol": place, "size": 8},
                hovertemplate="%{y:.2f}",
            )
        )
    plain = {
        "tokens_per_s": info.plain_tokens_per_s[:width],
        "tau": [1.0] * width,
        "times_plain": [1.0] * width,
    }[measure]
    figure.add_trace(
        go.Scatter(
            x=values,
            y=plain,
            name=PLAIN,
            mode="lines",
            line={"color": GREY, "width": 2, "dash": "dash"},
            hovertemplate="%{y:.2f}",
        )
    )
    if here is not None:
        figure.add_vline(x=here, line={"color": GREY, "width": 1, "dash": "dot"})
    figure.update_xaxes(type="log", tickvals=values, ticktext=[f"{value:g}" for value in values])
    figure.update_yaxes(rangemode="tozero")
    figure.update_layout(hovermode="x unified")
    words = AXIS_WORDS.get(info.axis, info.axis)
    return finish_figure(
        figure,
        title=f"Along {words}",
        subtitle=figure_text(winner_words(info)) if tells_winners else "",
        x_title=words,
        y_title=MEASURES[measure],
        theme=theme,
        is_empty=not info.label,
    )
