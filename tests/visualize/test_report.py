"""The report is one file, complete and harmless whatever the model wrote."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from core.trace.file import Trace
from tests.visualize.trace_builder import CHAIN, FORK, PLAIN, make_trace
from visualize.report.page import export_report, report_data, report_html

EVIL = [
    "<script>alert(1)</script>",
    "</script><img src=x onerror=alert(1)>",
    "<!--<script>",
    "]]>&lt;",
    "\u2028*/ /*PLOTLY*/ /*DATA*/",
]


class ModelConfig(HTMLParser):
    """Tags in order, and the text of the data block."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.data = ""
        self._in_data = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self._in_data = ("id", "data") in attrs

    def handle_data(self, data: str) -> None:
        if self._in_data:
            self.data += data


def model_config(trace: Trace) -> ModelConfig:
    parser = ModelConfig()
    parser.feed(report_html(trace))
    parser.close()
    return parser


def evil_trace() -> Trace:
    return make_trace(
        *(PLAIN._replace(next_token_id=number) for number in range(len(EVIL))),
        texts=dict(enumerate(EVIL)),
        prompt_text="".join(EVIL),
        mode=EVIL[1],
        target={"name": EVIL[0]},
        config={"mode": EVIL[1], "odd": EVIL[2]},
    )


def test_texts_of_the_model_add_no_element() -> None:
    assert model_config(evil_trace()).tags == model_config(make_trace(PLAIN)).tags


def test_texts_of_the_model_arrive_as_they_are() -> None:
    data = json.loads(model_config(evil_trace()).data)
    assert [step["tokens"][0]["text"] for step in data["steps"]] == EVIL
    assert data["run"]["prompt_text"] == "".join(EVIL)


def test_the_file_asks_for_nothing_outside() -> None:
    html = report_html(make_trace(CHAIN))
    page = html.replace(html[html.index("plotly.js") : html.rindex("<script>")], "")
    assert "default-src 'none'" in page
    assert not re.search(r"https?://|src=|@import|url\(", page)


def test_tokens_carry_source_and_probabilities() -> None:
    assert report_data(make_trace(FORK))["steps"] == [
        {
            "step": 1,
            "tokens": [
                token("w21 ", 21, "accepted", 0.2, 0.25),
                token("w22 ", 22, "bonus", None, 0.4),
            ],
            "lost": [
                token("w20 ", 20, "rejected", 0.7, 0.25),
                token("w23 ", 23, "untested", 0.5, 0.25),
            ],
        }
    ]


def token(
    text: str, token_id: int, source: str, draft_prob: float | None, target_prob: float | None
) -> dict[str, Any]:
    return {
        "text": text,
        "token_id": token_id,
        "source": source,
        "draft_prob": draft_prob,
        "target_prob": target_prob,
    }


@pytest.mark.parametrize(
    "trace",
    [
        Trace(),
        make_trace(),
        make_trace(CHAIN, end="failed"),
        make_trace(PLAIN, mode="naive", end="stopped"),
        make_trace(CHAIN._replace(recorded=False), end=None),
    ],
)
def test_every_kind_of_run_has_a_report(trace: Trace, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    export_report(trace, path)
    assert path.stat().st_size > 1_000_000, "plotly is inside"
    assert path.read_text("utf-8").startswith("<!doctype html>")
