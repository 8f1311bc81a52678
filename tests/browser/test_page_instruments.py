"""Figures, bars, exports and settings beside the chat."""

import csv
import re
from pathlib import Path

from playwright.sync_api import Page, expect

from core.trace.events import RunStarted
from core.trace.file import load_trace
from tests.browser.conftest import OpenPage
from tests.browser.served import Served
from tests.browser.test_page_chat import ask, choose, ended, limit, unfold
from visualize.columns import COLUMNS


def figure(page: Page, name: str) -> str:
    return page.locator(f"[data-figure={name}]").inner_text()


def test_figures_follow_the_run_and_name_their_denominator(
    scripted: Served, open_page: OpenPage
) -> None:
    page = open_page(scripted)
    limit(page, 60)
    ask(page, "Explain")
    ended(page)
    stats = scripted.last_stats()
    assert figure(page, "tau") == f"{stats.acceptance_length:.2f}"
    assert figure(page, "tokens-per-s") == f"{stats.tokens_per_s:.1f}"
    notes = page.locator(".figure-note").all_inner_texts()
    assert f"of {stats.num_tested} tested" in notes
    assert f"{stats.num_steps} steps" in notes
    # The scripted steps end 20 ms apart.
    assert figure(page, "pause") == figure(page, "longest-pause") == "20 ms"
    assert f"median of {stats.num_steps - 1}" in notes
    assert figure(page, "burst") == f"{stats.num_tokens / stats.num_steps:.2f}"


def told_at(page: Page, share: float) -> str:
    """What the time view says under the pointer, at a share of its width."""
    box = page.locator("canvas.bars").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + share * box["width"], box["y"] + 60)
    return page.locator(".told").inner_text()


def test_the_zoom_of_the_bars_stays_while_they_grow(slow: Served, open_page: OpenPage) -> None:
    page = open_page(slow)
    limit(page, 3000)
    ask(page, "Go on")
    tokens = page.locator(".strip .token")
    expect(tokens.nth(20)).to_be_visible()
    told_at(page, 0.2)
    page.mouse.wheel(0, -600)
    expect(page.get_by_role("button", name="whole run")).to_be_visible()
    before = told_at(page, 0.5)
    assert before.startswith("step ")
    count = tokens.count()
    expect(tokens.nth(count + 40)).to_be_attached()
    assert told_at(page, 0.5) == before
    page.click("#stop")
    page.get_by_role("button", name="whole run").click()
    assert told_at(page, 0.5) != before


def test_bars_stack_the_phases_of_each_step(scripted: Served, open_page: OpenPage) -> None:
    page = open_page(scripted)
    limit(page, 20)
    ask(page, "Explain")
    ended(page)
    expect(page.locator(".told")).to_contain_text("10 ms to read the prompt")
    page.locator(".strip .token").first.click()
    told = page.locator(".told")
    expect(told).to_contain_text("step 1: draft 0.5, verify 14.5, accept + commit 3.0, other 2.0")
    expect(told).to_contain_text("plain decoding")


def test_exports_are_there_when_the_run_has_ended(
    scripted: Served, open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page(scripted)
    assert page.locator("a[data-file='steps.csv'][href]").count() == 0
    limit(page, 30)
    ask(page, "Explain")
    ended(page)
    for table in ("steps", "tokens"):
        with (saved(page, f"{table}.csv", tmp_path)).open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        assert list(rows[0]) == list(COLUMNS[table])
        assert len(rows) == (30 if table == "tokens" else scripted.last_stats().num_steps)
    trace = load_trace(saved(page, "trace.jsonl", tmp_path))
    assert len(trace.token_ids) == 30
    assert trace.text.split() == page.locator(".strip").inner_text().replace("↵", " ").split()


def saved(page: Page, name: str, folder: Path, mode: str = "ngram") -> Path:
    with page.expect_download() as download:
        page.click(f"a[data-file='{name}']")
    assert download.value.suggested_filename == f"{mode}-{name}"
    path = folder / name
    download.value.save_as(path)
    return path


def test_every_setting_has_one_line_of_help(scripted: Served, open_page: OpenPage) -> None:
    page = open_page(scripted)
    controls = page.locator("#settings [id^=setting-]:visible")
    assert controls.count() < 14  # what most runs change
    unfold(page)
    expect(page.locator("#setting-logit-bias")).to_be_visible()
    assert controls.count() >= 24
    for control in controls.all():
        assert re.search(r"\w{3}", control.locator(".info-text").inner_text())


def test_ends_and_penalties_are_folded_away_and_reach_the_run(
    scripted: Served, open_page: OpenPage, tmp_path: Path
) -> None:
    page = open_page(scripted)
    expect(page.locator("#setting-stop")).to_be_hidden()
    page.get_by_role("button", name="Choice, ends and penalties").click()
    limit(page, 12)
    page.fill("#setting-stop textarea", "a, b\n\\n\\n")
    page.fill("#setting-logit-bias textarea", " hello=-2\n5=100")
    page.fill("#setting-repetition-penalty input", "1.2")
    page.check("#setting-ignore-eos input")
    ask(page, "Explain")
    ended(page)
    started = load_trace(saved(page, "trace.jsonl", tmp_path)).first(RunStarted)
    assert started is not None and started.config["stop"] == ["a, b", "\n\n"]
    sampling = started.config["sampling"]
    assert sampling["logit_bias"] == [" hello=-2", "5=100"]
    assert (sampling["repetition_penalty"], sampling["ignore_eos"]) == (1.2, True)
    page.fill("#setting-logit-bias textarea", "5")
    ask(page, "Explain")
    expect(page.get_by_text("logit_bias has '5'; give TOKEN=NUMBER")).to_be_visible()


def test_a_mode_brings_its_own_settings(scripted: Served, open_page: OpenPage) -> None:
    page = open_page(scripted)
    expect(page.locator("#setting-ngram-branching")).to_be_visible()
    choose(page, "mode", "naive")
    expect(page.locator("#setting-ngram-branching")).to_be_hidden()
    limit(page, 12)
    ask(page, "Explain")
    ended(page)
    assert page.locator(".strip .token.plain").count() == 12
    choose(page, "mode", "share-sd")
    expect(page.locator("#setting-share-sd-bits")).to_be_visible()
    ask(page, "Explain")
    ended(page, 1)
    expect(page.locator(".mode-badge").last).to_contain_text("share-sd")


def test_settings_of_the_quantized_self_show_where_it_drafts(
    scripted: Served, open_page: OpenPage
) -> None:
    page = open_page(scripted)
    choose(page, "mode", "hybrid")
    bits, keep = page.locator("#setting-hybrid-bits"), page.locator("#setting-hybrid-keep")
    expect(bits).to_be_visible()  # of this target no head is shipped
    unfold(page)
    expect(keep).to_be_visible()
    page.fill("#setting-draft textarea, #setting-draft input", "eagle")
    page.keyboard.press("Tab")
    expect(bits).to_be_hidden()
    expect(keep).to_be_hidden()
    expect(page.locator("#setting-hybrid-min-match")).to_be_visible()
    page.fill("#setting-draft textarea, #setting-draft input", "eagle+self")
    page.keyboard.press("Tab")
    expect(bits).to_be_visible()
    expect(keep).to_be_visible()


def test_a_mode_that_cannot_run_says_why(scripted: Served, open_page: OpenPage) -> None:
    page = open_page(scripted)
    choose(page, "mode", "layer-skip")
    expect(page.locator("#mode-reason")).to_contain_text("layer-skip needs other layers.")
    choose(page, "mode", "ngram")
    expect(page.locator("#mode-reason")).to_be_hidden()
