"""One HTML file made of a frame, a body, its script, plotly and data; what all reports share.

No markup is made from text here: the texts stand in a block of JSON, and the page's script writes
them as text nodes.
"""

import json
import re
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import plotly.graph_objects as go

from core.runtime.strict_json import dumps
from visualize.figures.style import TEMPLATES

_PLACE = re.compile(r"/\*(TITLE|BODY|STYLE|SCRIPT|DOCUMENT|PLOTLY|DATA)\*/")
# Inside a script element these would end it or begin a comment, whatever their JSON type.
_ESCAPES = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


def filled_page(name: str, title: str, data: dict[str, Any]) -> str:
    """The page of a body and script of this name; it is about 5 MB, nearly all of it plotly."""
    here = files(__package__)
    parts = {
        "TITLE": title,
        "BODY": here.joinpath(f"{name}.html").read_text("utf-8"),
        "STYLE": here.joinpath("report.css").read_text("utf-8"),
        "DOCUMENT": here.joinpath("document.js").read_text("utf-8"),
        "SCRIPT": here.joinpath(f"{name}.js").read_text("utf-8"),
        "PLOTLY": files("plotly").joinpath("package_data/plotly.min.js").read_text("utf-8"),
        "DATA": dumps(data).translate(_ESCAPES),
    }
    # One pass, so that a text that looks like a place is never filled.
    template = here.joinpath("document.html").read_text("utf-8")
    return _PLACE.sub(lambda match: parts[match.group(1)], template)


def plain_figures(figures: Mapping[str, go.Figure]) -> dict[str, Any]:
    """Figures as plain JSON, without the template that the page chooses by its theme."""
    return {name: _plain(figure.to_json()) for name, figure in figures.items()}


def plain_templates() -> dict[str, Any]:
    """The templates of light and dark as plain JSON."""
    return {
        theme: _plain(dumps(template.to_plotly_json())) for theme, template in TEMPLATES.items()
    }


def _plain(figure: str) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(figure)
    values.get("layout", {}).pop("template", None)
    return values
