"""The report in a real browser, without network."""

from pathlib import Path
from typing import Any

import pytest

from core.benchmark.tables import Table
from tests.visualize.test_report import evil_trace
from tests.visualize.trace_builder import CHAIN, FORK, make_trace
from visualize.report.comparison import comparison_html
from visualize.report.page import export_report

pytestmark = pytest.mark.browser


def opened(
    browser: Any, path: Path, scheme: str, figure: str = "tokens_over_time"
) -> tuple[Any, list[str]]:
    """The page, and everything that went wrong or asked for something on the way."""
    page = browser.new_page(color_scheme=scheme, viewport={"width": 390, "height": 800})
    trouble: list[str] = []
    page.on("pageerror", lambda error: trouble.append(str(error)))
    page.on("console", lambda line: trouble.append(line.text) if line.type == "error" else None)
    page.on("dialog", lambda dialog: (trouble.append("dialog"), dialog.dismiss()))
    page.on(
        "request",
        lambda request: (
            None
            if request.url.startswith((path.as_uri(), "data:", "blob:"))
            else trouble.append(request.url)
        ),
    )
    page.goto(path.as_uri())
    page.wait_for_selector(f"#figure-{figure} .main-svg")
    return page, trouble


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_draws_strip_numbers_figures_and_steps(
    browser: Any, tmp_path: Path, scheme: str
) -> None:
    path = tmp_path / "report.html"
    export_report(make_trace(CHAIN, FORK), path)
    page, trouble = opened(browser, path, scheme)
    assert page.locator("#strip .token:not(.lost)").all_text_contents() == [
        "w10 ",
        "w11 ",
        "w12 ",
        "w21 ",
        "w22 ",
    ]
    assert page.locator("#strip .lost").count() == 0
    page.get_by_label("show rejected").check()
    assert page.locator("#strip .lost").all_text_contents() == ["w13 ", "w20 ", "w23 "]
    assert page.locator("#numbers dd").nth(1).text_content() == "2.502 steps"
    assert page.locator("#figures .main-svg").count() >= 6
    assert page.locator("#steps tr").count() == 3
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert trouble == []
    page.close()


def test_a_comparison_draws_figures_and_tables(browser: Any, tmp_path: Path) -> None:
    interval = {"median": 1.5, "low": 1.2, "high": 1.9}
    phases = {f"{name}_ms": 1.0 for name in ("draft", "verify", "accept", "commit", "other")}
    pauses = {"p50_s": 0.01, "p95_s": 0.02, "p99_s": 0.03, "longest_s": 0.1, "num_pauses": 9}
    row = {"runner": "ngram:depth=3", "ratio": interval, "phases": phases, "pauses": pauses}
    report = {
        "summary": [{**row, "category": "all"}, {**row, "category": "<b>chat</b>"}],
        "target": {"name": "tiny", "dtype": "float32"},
        "versions": {"torch": "2"},
        "device": "a machine",
        "finished_at": "2026-01-01",
        "command": "compare",
        "configs": {},
    }
    path = tmp_path / "comparison.html"
    table = Table("Speed", ("", "ratio"), [("<i>ngram</i>", "1.5")], "<b>note</b>")
    path.write_text(comparison_html(report, [table]))
    page, trouble = opened(browser, path, "dark", figure="ratio_by_category")
    assert page.locator("#figures .main-svg").count() >= 4
    assert page.locator("#tables td").all_text_contents() == ["<i>ngram</i>", "1.5"]
    assert page.locator("#figures b, #tables i, #tables b").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert trouble == []
    page.close()


def test_markup_of_a_model_stays_text(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    export_report(evil_trace(), path)
    page, trouble = opened(browser, path, "light")
    assert "<img src=x onerror=alert(1)>" in page.locator("#strip").text_content()
    assert page.locator("img, #strip script, #prompt *, #settings *").count() == 0
    assert trouble == []
    page.close()
