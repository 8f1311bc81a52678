"""Compare, Runs, Presets and Models."""

import re
import time
from pathlib import Path

from playwright.sync_api import Page, expect

from app.engines.engine_slot import EngineKey, Progress
from presets.gallery import find_preset
from tests.app.scripted_engine import LOSSY_AFTER, ScriptedEngine, load_scripted
from tests.browser.conftest import OpenPage
from tests.browser.served import Served, serve_pool
from tests.browser.test_page_chat import ask, choose, ended, limit, unfold
from tests.browser.test_page_tokens import answered

IMPORTS = Path(__file__).parents[1] / "visualize" / "imports" / "files"


def show(page: Page, tab: str) -> None:
    page.get_by_role("navigation").get_by_role("button", name=tab).click()


def test_kept_runs_are_listed_opened_renamed_and_deleted(
    scripted: Served, open_page: OpenPage
) -> None:
    page = answered(open_page(scripted), 20)
    page.click("#clear")
    expect(page.locator(".welcome")).to_be_visible()
    show(page, "Runs")
    row = page.locator("tr[data-run]")
    expect(row).to_have_count(1)
    row.locator(".run-name").fill("A better name")
    row.locator(".run-name").press("Enter")
    page.get_by_label("Filter").fill("nothing like it")
    expect(row).to_have_count(0)
    page.get_by_label("Filter").fill("better")
    expect(row).to_have_count(1)
    row.get_by_role("button", name="Open").click()
    expect(page.locator(".strip .token")).to_have_count(20)
    show(page, "Runs")
    row.get_by_role("button", name="Delete").click()
    expect(row).to_have_count(0)


def test_the_page_starts_with_the_preset_that_it_was_told(open_page: OpenPage) -> None:
    preset = find_preset("wide-tree")
    with serve_pool(load_scripted(ScriptedEngine()), "scripted", preset) as served:
        page = open_page(served)
        expect(page.locator("#message textarea")).to_have_value(preset.prompt)
        expect(page.locator("#setting-mode input")).to_have_value("share-sd")
        expect(page.locator("#setting-share-sd-branching input")).to_have_value("4")


def test_loading_shows_how_far_it_is_and_can_be_cancelled(open_page: OpenPage) -> None:
    def load(key: EngineKey, progress: Progress) -> ScriptedEngine:
        for done in range(500 if key.target == "large" else 1):
            progress("reading weights", done * 10**6, 500 * 10**6)
            time.sleep(0.02)
        return ScriptedEngine()

    with serve_pool(load, "scripted") as served:
        page = open_page(served)
        show(page, "Models")
        page.get_by_label("Target", exact=True).fill("large")
        page.get_by_role("button", name="Load", exact=True).click()
        status = page.locator("#tab-models .status-line")
        expect(status).to_contain_text(re.compile(r"large: reading weights .* of 500\.0 MB"))
        page.get_by_role("button", name="Cancel", exact=True).click()
        notice = page.locator("#models-view .notice")
        expect(notice).to_contain_text("Loading was cancelled; ask or load again.")
        page.close()  # it asks the server how it is, as long as it is open


def test_another_visitor_sees_none_of_them(scripted: Served, open_page: OpenPage) -> None:
    answered(open_page(scripted), 5)
    other = open_page(scripted)
    show(other, "Runs")
    expect(other.locator("#runs-view .summary")).to_have_text("0 of 0")


def test_a_trace_file_from_elsewhere_is_opened_and_a_bad_one_is_refused_with_its_line(
    scripted: Served, open_page: OpenPage, tmp_path: Path
) -> None:
    page = answered(open_page(scripted), 12)
    with page.expect_download() as download:
        page.click("a[data-file='trace.jsonl']")
    path = tmp_path / "saved.jsonl"
    download.value.save_as(path)
    show(page, "Runs")
    page.set_input_files("#open-trace", path)
    expect(page.locator(".run-name[value='saved.jsonl']")).to_be_visible()
    lines = path.read_text("utf-8").splitlines()
    bad = tmp_path / "bad.jsonl"
    bad.write_text("\n".join([*lines[:3], '{"kind": "nonsense"}', *lines[4:]]), "utf-8")
    page.set_input_files("#open-trace", bad)
    expect(page.locator("#runs-view .notice")).to_contain_text("line 4: unknown event kind")


def test_every_download_of_a_kept_run_is_there(scripted: Served, open_page: OpenPage) -> None:
    page = answered(open_page(scripted), 5)
    show(page, "Runs")
    page.locator("tr[data-run] details.menu summary").click()
    links = page.locator(".menu-list a")
    assert links.count() == 7
    for link in links.all():
        response = page.request.get(link.get_attribute("href") or "")
        assert response.ok, link.inner_text()
        assert len(response.body()) > 50


def test_settings_are_compared_with_plain_decoding_and_judged(
    scripted: Served, open_page: OpenPage
) -> None:
    page = open_page(scripted)
    limit(page, 20)
    show(page, "Compare")
    page.click("#comparison-add")
    expect(page.locator(".entries li")).to_have_count(2)
    page.fill("#comparison-repeats input", "2")
    page.click("#comparison-run")
    rows = page.locator(".comparison-table tbody tr")
    expect(rows).to_have_count(2)
    assert rows.nth(0).inner_text().startswith("naive")
    expect(rows.nth(1)).to_contain_text("2 runs")
    expect(rows.nth(1)).to_contain_text("identical over 20 tokens")
    expect(page.locator(".lane .strip .token")).to_have_count(40)
    # Figures are as wide as their places, also when these grow.
    place = page.locator("[data-name=compare_summary] .figure-place")
    drawn = place.locator(".main-svg").first
    expect(drawn).to_be_visible()
    width = place.evaluate("place => place.clientWidth")
    expect(drawn).to_have_attribute("width", str(width))
    page.click("[aria-label=Settings]")
    expect(drawn).not_to_have_attribute("width", str(width))
    wider = place.evaluate("place => place.clientWidth")
    assert wider > width + 50
    expect(drawn).to_have_attribute("width", str(wider))


def test_a_set_is_compared_and_what_cannot_run_is_told(
    scripted: Served, open_page: OpenPage
) -> None:
    page = open_page(scripted)
    limit(page, 12)
    show(page, "Compare")
    expect(page.locator("#tab-compare .promise")).to_contain_text("times plain decoding")
    page.click("[data-set=all]")
    left = page.locator(".left-out")
    expect(left).to_contain_text("1 left out")
    left.locator("summary").click()
    expect(left).to_contain_text("layer-skip layer-skip needs other layers.")
    page.click("[data-set=bits]")
    expect(page.locator(".entries li")).to_have_count(5)
    expect(left).to_be_hidden()
    page.click("#comparison-run")
    done = page.locator(".entries [data-phase=done]")
    expect(done).to_have_count(5)
    expect(done.nth(1)).to_contain_text("done: 12 tokens")
    expect(page.locator(".comparison-figures .main-svg").first).to_be_visible()
    expect(page.locator(".comparison-figures figure")).to_have_count(2)
    expect(page.locator(".comparison-table tbody tr").nth(1)).to_contain_text("share-sd, bits 2")
    expect(page.locator("#tab-compare .promise")).to_have_count(0)


def test_a_lossy_rule_shows_where_its_text_parts(scripted: Served, open_page: OpenPage) -> None:
    page = open_page(scripted)
    limit(page, 20)
    page.fill("#setting-temperature input", "0.8")
    unfold(page)
    choose(page, "mode", "ngram")
    choose(page, "accept", "typical")
    show(page, "Compare")
    page.click("#comparison-add")
    badge = page.locator(".entries .lossy-badge")
    expect(badge).to_have_text("lossy (typical)")
    page.click("#comparison-run")
    rows = page.locator(".comparison-table tbody tr")
    expect(rows.nth(1)).to_contain_text(f"parts at token {LOSSY_AFTER + 1}: ", timeout=30_000)
    assert rows.nth(1).inner_text().startswith("ngram, lossy (typical)")
    plain, lossy = page.locator(".lane").all()
    for lane in (plain, lossy):
        expect(lane.locator(".token.parted")).to_have_count(1 if lane == lossy else 0)
    expect(lossy.locator(".token.astray")).to_have_count(20 - LOSSY_AFTER - 1)
    tokens = lossy.locator(".token")
    assert "parted" in (tokens.nth(LOSSY_AFTER).get_attribute("class") or "")
    frame = "node => getComputedStyle(node).outlineStyle + getComputedStyle(node).boxShadow"
    assert tokens.nth(LOSSY_AFTER).evaluate(frame) != tokens.nth(0).evaluate(frame)
    show(page, "Runs")
    mode = page.locator("table.runs tbody tr td:nth-child(3)")
    expect(mode).to_have_text(["ngram lossy (typical)", "naive"])
    page.click("table.runs tbody tr:first-child .row-actions button")
    expect(page.locator(".turn .lossy-badge")).to_have_text("lossy (typical)")


def test_nothing_to_compare_is_told(scripted: Served, open_page: OpenPage) -> None:
    page = open_page(scripted)
    show(page, "Compare")
    page.click("#comparison-run")
    expect(page.locator("#compare-view .notice")).to_contain_text("add settings first")


def test_kept_runs_are_compared(scripted: Served, open_page: OpenPage) -> None:
    page = answered(open_page(scripted), 10)
    limit(page, 6)
    page.click("#retry")
    expect(page.locator(".strip .token")).to_have_count(6)
    show(page, "Runs")
    boxes = page.locator("tr[data-run] input[type=checkbox]")
    expect(boxes).to_have_count(2)
    for box in boxes.all():
        box.check()
    page.get_by_role("button", name="Compare chosen").click()
    expect(page.locator(".comparison-table tbody tr")).to_have_count(2)


def test_a_preset_sets_everything_and_runs(scripted: Served, open_page: OpenPage) -> None:
    page = open_page(scripted)
    show(page, "Presets")
    page.locator("[data-preset=wide-tree]").click()
    ended(page)
    expect(page.locator(".mode-badge").first).to_have_text("share-sd")
    expect(page.locator("#setting-share-sd-branching input")).to_have_value("4")
    assert "lighthouse" in page.locator(".question").inner_text()
    show(page, "Compare")
    expect(page.locator(".entries li")).to_have_count(3)
    expect(page.locator("#comparison-prompt textarea")).to_have_value(re.compile("lighthouse"))


def test_a_preset_has_a_chat_of_its_own_however_slow_the_page(
    scripted: Served, open_page: OpenPage
) -> None:
    """It was sent by a click a quarter of a second later, whatever had been filled in by then."""
    page = open_page(scripted)
    page.route("**/gradio_api/**", lambda route: (page.wait_for_timeout(400), route.continue_()))
    for name, mode in (("wide-tree", "share-sd"), ("open-chat", "ngram")):
        show(page, "Presets")
        page.locator(f"[data-preset={name}]").click()
        expect(page.locator(".question")).to_have_text(re.compile(find_preset(name).prompt[:20]))
        expect(page.locator(".turn .mode-badge")).to_have_text([mode])
        ended(page)
        expect(page.locator("#message textarea")).to_have_value("")


def test_an_example_is_asked_and_what_was_being_written_stays(
    scripted: Served, open_page: OpenPage
) -> None:
    page = open_page(scripted)
    page.fill("#message textarea", "half a")
    page.get_by_role("button", name="Open question").click()
    ended(page)
    expect(page.locator(".question")).to_have_text(re.compile("why the sky is blue"))
    expect(page.locator("#message textarea")).to_have_value("half a")


def test_models_can_be_loaded_and_a_missing_one_says_why(
    scripted: Served, open_page: OpenPage
) -> None:
    page = open_page(scripted)
    show(page, "Models")
    expect(page.locator(".modes")).to_contain_text("layer-skip needs other layers.")
    expect(page.locator("#models-view")).to_contain_text("smollm2-135m")
    expect(page.locator("#models-view .cards")).to_contain_text(
        "135 million weights, in memory bfloat16 269"
    )
    page.locator("#models-view input").fill("nowhere")
    expect(page.locator("#models-view .summary").first).to_contain_text("no model named 'nowhere'")
    page.locator("#models-view input").fill("missing")
    page.get_by_role("button", name="Load", exact=True).click()
    notice = page.locator("#models-view .notice")
    expect(notice).to_contain_text("no model named missing")
    show(page, "Runs")
    show(page, "Models")
    expect(notice).to_contain_text("no model named missing")
    notice.get_by_role("button", name="Dismiss").click()
    expect(notice).to_be_hidden()
    page.locator("#models-view input").fill("scripted")
    page.get_by_role("button", name="Load", exact=True).click()
    expect(page.locator(".status-line")).to_contain_text("scripted is ready")
    show(page, "Playground")
    limit(page, 4)
    ask(page, "Hi")
    ended(page)


def test_a_file_of_another_program_stands_beside_a_run(
    scripted: Served, open_page: OpenPage, tmp_path: Path
) -> None:
    page = answered(open_page(scripted), 12)
    show(page, "Runs")
    evil = "<img src=x onerror=alert(1)>"
    text = (IMPORTS / "spec-bench.jsonl").read_text("utf-8").replace("writing", evil)
    path = tmp_path / "answers.jsonl"
    path.write_text(text, "utf-8")
    page.set_input_files("#open-trace", path)
    row = page.locator("tr[data-run]", has=page.locator(".run-name[value='answers.jsonl']"))
    expect(row).to_contain_text("Spec-Bench answers")
    expect(row).to_contain_text("3 answers")
    row.get_by_role("button", name="Open").click()
    beside = page.locator("#runs-view .beside")
    expect(beside.locator(".gallery-figure .main-svg").first).to_be_visible()
    assert beside.locator(".gallery-figure").count() == 4
    beside.locator("summary", has_text="Answers").click()
    expect(beside.locator("[data-table='answers']")).to_contain_text(evil)
    assert page.locator("#runs-view img").count() == 0
    beside.get_by_role("button", name="Close").click()
    expect(beside).to_be_hidden()
    for box in page.locator("tr[data-run] input[type=checkbox]").all():
        box.check()
    page.get_by_role("button", name="Compare chosen").click()
    expect(beside.locator("thead").first).to_contain_text("answers.jsonl")
    expect(beside.locator("thead").first).to_contain_text("ngram")
    for name in ("beside/sources.csv", "beside.html"):
        href = beside.locator(f"a[href*='{name}']").get_attribute("href") or ""
        assert page.request.get(href).ok
