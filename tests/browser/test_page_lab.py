"""The lab: prompts are measured once under several modes, and every control answers from that."""

from playwright.sync_api import Locator, Page, expect

from app.runs.lab_runs import LabRuns
from tests.app.scripted_engine import ScriptedEngine
from tests.browser.conftest import OpenPage
from tests.browser.served import Served, serve
from tests.browser.test_page_chat import limit
from tests.browser.test_page_looks import NARROW
from tests.browser.test_page_tabs import show

# What the browser says of an answer that there is nothing.
GONE = ("Failed to load resource: the server responded with a status of 404",)


def measured(page: Page) -> Page:
    """The lab of a page, after a prompt was measured under the usual modes."""
    limit(page, 24)
    return shown_after_measuring(page)


def shown_after_measuring(page: Page) -> Page:
    show(page, "Lab")
    page.click("#lab-run")
    expect(page.locator(".lab-verdict")).to_contain_text("plain decoding")
    return page


def row(page: Page, mode: str) -> Locator:
    """Of the table of drafters."""
    return page.locator(".lab-drafters tbody tr").filter(has=page.get_by_text(mode, exact=True))


def test_drafters_stand_side_by_side_with_the_winner_and_figures(
    scripted: Served, open_page: OpenPage
) -> None:
    page = measured(open_page(scripted))
    names = page.locator(".lab-drafters tbody th")
    expect(names).to_have_text(["sd-eaglefastest", "ngram", "hybrid", "plain decoding"])
    expect(page.locator(".lab-verdict")).to_contain_text("sd-eagle is fastest")
    expect(page.locator(".lab-curve .scatterlayer .trace")).to_have_count(8)
    expect(page.locator(".lab-map .heatmaplayer image")).to_be_visible()
    expect(page.locator(".lab-told")).to_contain_text(
        "24 tokens of 1 prompt; every step is that of a real run."
    )


def test_sliders_move_every_figure_at_once(scripted: Served, open_page: OpenPage) -> None:
    page = measured(open_page(scripted))
    best = row(page, "sd-eagle").locator("td").first
    before = best.text_content() or ""
    page.locator("#lab-verification").fill("10")
    expect(best).not_to_have_text(before)
    expect(page.locator("label:has(#lab-verification) output")).to_have_text("×4.00")
    page.locator("#lab-acceptance").fill("-20")
    expect(page.locator(".lab-verdict")).to_contain_text("Drafting does not pay here")
    expect(page.locator("label:has(#lab-acceptance) output")).to_have_text("0% of hits stay")
    page.get_by_role("button", name="As measured").click()
    expect(best).to_have_text(before)
    page.select_option("#lab-measure", "tau")
    expect(page.locator(".lab-map")).to_contain_text("tokens a step")
    page.select_option("#lab-costs", "h100-7b")
    expect(best).not_to_have_text(before)


def test_a_curve_is_drawn_with_the_keyboard(scripted: Served, open_page: OpenPage) -> None:
    page = measured(open_page(scripted))
    page.click(".lab-drawing summary")
    plain = page.locator(".lab-plain td").first
    before = plain.text_content() or ""
    handle = page.get_by_label("Forward over 1 row", exact=True)
    handle.focus()
    for _ in range(3):
        page.keyboard.press("PageUp")
    expect(page.locator("#lab-costs")).to_have_value("drawn")
    expect(plain).not_to_have_text(before)
    drawn = handle.get_attribute("aria-valuetext") or ""
    assert drawn.endswith(" milliseconds")
    page.select_option("#lab-costs", "own")
    expect(plain).to_have_text(before)
    expect(handle).not_to_have_attribute("aria-valuetext", drawn)


def test_tokens_are_grouped_with_their_denominators(scripted: Served, open_page: OpenPage) -> None:
    page = measured(open_page(scripted))
    groups = page.locator(".lab-groups tbody th")
    expect(groups.first).to_have_text("start of a word")
    page.select_option("#lab-by", "category")
    expect(groups).to_have_text(["prompt 1"])
    cell = page.locator(".lab-groups .lab-kept").first
    page.select_option("#lab-of", "given")
    expect(cell).to_contain_text(" of ")


def test_several_prompts_and_own_questions(scripted: Served, open_page: OpenPage) -> None:
    page = open_page(scripted)
    limit(page, 12)
    show(page, "Lab")
    page.fill("#lab-prompts textarea", "One\nTwo")
    page.fill("#lab-own input", "1")
    page.press("#lab-own input", "Tab")
    page.click("#lab-run")
    expect(page.locator(".lab-told")).to_contain_text("36 tokens of 3 prompts")
    page.fill("#lab-own input", "99")
    page.press("#lab-own input", "Tab")
    page.click("#lab-run")
    expect(page.locator("#lab-view .notice")).to_contain_text("own questions is")


def test_the_best_setting_goes_into_the_playground(scripted: Served, open_page: OpenPage) -> None:
    page = measured(open_page(scripted))
    words = row(page, "sd-eagle").locator(".lab-words").text_content() or ""
    depth = next(word.removeprefix("depth=") for word in words.split() if "depth=" in word)
    page.get_by_role("button", name="Use the best settings of sd-eagle").click()
    expect(page.locator("#tab-playground")).to_be_visible()
    expect(page.locator("[id^=setting-][id$=-depth] input:visible")).to_have_value(depth)


def test_a_page_that_is_loaded_anew_shows_its_profiles(
    scripted: Served, open_page: OpenPage
) -> None:
    page = measured(open_page(scripted))
    page.reload()
    expect(page.locator(".lab-verdict")).to_contain_text("is fastest")


def test_a_lab_opens_again_after_the_server_has_forgotten_it(open_page: OpenPage) -> None:
    with serve(ScriptedEngine()) as served:
        page = measured(open_page(served))
        verdict = page.locator(".lab-told").text_content() or ""
        served.handlers.labs = LabRuns()  # as after a restart
        page.reload()
        show(page, "Lab")
        expect(page.locator(".lab-told")).to_have_text(verdict)
        show(page, "Runs")
        page.get_by_label("Filter").fill("profile of")
        choose = page.get_by_role("button", name="Open in the Lab")
        expect(choose).to_be_disabled()
        page.get_by_label("Choose all that are shown").check()
        expect(page.locator("tr[data-run] input:checked")).to_have_count(3)
        with page.expect_response("**/labs.json*"):
            choose.click()
        expect(page.locator("#tab-lab")).to_be_visible()
        expect(page.locator(".lab-told")).to_have_text(verdict)
        page.close()  # it asks the server how it is, as long as it is open


def test_a_lab_that_made_room_for_others_answers_on(open_page: OpenPage) -> None:
    with serve(ScriptedEngine()) as served:
        page = measured(open_page(served, brings_about=GONE))
        best = row(page, "sd-eagle").locator("td").first
        before = best.text_content() or ""
        served.handlers.labs = LabRuns()
        page.locator("#lab-verification").fill("10")
        expect(best).not_to_have_text(before)
        page.get_by_role("button", name="As measured").click()
        expect(best).to_have_text(before)
        expect(page.locator("#lab-view .notice")).to_be_hidden()
        expect(page.locator(".lab-map .heatmaplayer image")).to_be_visible()
        show(page, "Runs")
        served.handlers.labs = LabRuns()
        rows = page.locator("tr[data-run]")
        for left in (2, 1, 0):
            rows.first.get_by_role("button", name="Delete").click()
            expect(rows).to_have_count(left)
        show(page, "Lab")
        page.locator("#lab-verification").fill("10")
        expect(page.locator("#lab-view .notice")).to_contain_text("not kept any more")
        page.close()  # it asks the server how it is, as long as it is open


def test_a_stop_ends_it_and_bad_input_is_one_sentence(open_page: OpenPage) -> None:
    with serve(ScriptedEngine(step_s=0.02)) as served:
        page = open_page(served)
        limit(page, 4000)
        show(page, "Lab")
        page.fill("#lab-prompts textarea", " ")
        page.click("#lab-run")
        expect(page.locator("#lab-view .notice")).to_contain_text("prompt")
        page.fill("#lab-prompts textarea", "Say something")
        page.click("#lab-run")
        page.click("#lab-stop")
        expect(page.locator("#lab-run")).to_be_visible()
        expect(page.locator(".lab-told")).to_have_text("Stopped")
        page.close()  # it asks the server how it is, as long as it is open


def test_what_fails_stays_as_an_error_that_says_what_to_do(open_page: OpenPage) -> None:
    with serve(ScriptedEngine(fail_at=6)) as served:
        page = open_page(served)
        show(page, "Lab")
        expect(page.locator("#lab-view .promise")).to_be_visible()
        page.click("#lab-run")
        told = page.locator("#lab-view").get_by_role("alert")
        expect(told).to_contain_text("Nothing was measured")
        expect(told).to_contain_text("measure again")
        expect(page.locator(".lab-refusals li")).to_have_count(3)
        expect(page.locator("#lab-view .promise")).to_be_hidden()
        show(page, "Playground")
        show(page, "Lab")
        expect(told).to_be_visible()


def test_a_question_that_fails_is_told_until_one_succeeds(
    scripted: Served, open_page: OpenPage
) -> None:
    page = measured(open_page(scripted))
    told = page.locator("#lab-view").get_by_role("alert")
    page.route("**/answer.json*", lambda route: route.fulfill(status=400, body="Not today."))
    page.select_option("#lab-batch", "8")
    expect(told).to_have_text("Not today.")
    page.unroute("**/answer.json*")
    page.select_option("#lab-batch", "4")
    expect(told).to_be_hidden()


def test_the_lab_fits_a_narrow_page(scripted: Served, open_page: OpenPage) -> None:
    page = shown_after_measuring(open_page(scripted, viewport=NARROW))
    expect(page.locator("#lab-modes label").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    box = page.locator(".lab-panel").bounding_box()
    assert box is not None and box["x"] + box["width"] <= NARROW["width"]
    arrow = page.locator("#lab-costs").evaluate("node => getComputedStyle(node).backgroundImage")
    assert arrow != "none", "without it a choice looks like a text to be typed"
