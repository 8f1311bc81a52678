"""Token strips: sources by colour and form, legend, card, selection, and long answers."""

from playwright.sync_api import Page, expect

from tests.browser.conftest import OpenPage
from tests.browser.served import Served
from tests.browser.test_page_chat import ask, ended, limit

# Everything that sets a token apart, apart from its colours.
FORM = """node => {
  const style = getComputedStyle(node);
  return [style.textDecorationLine, style.textDecorationStyle, style.boxShadow === "none",
          style.borderBottomStyle, style.fontStyle].join("/");
}"""
SOURCES = (
    "accepted",
    "recovered",
    "bonus",
    "plain",
    "remembered",
    "forced",
    "rejected",
    "untested",
)


def answered(page: Page, num_tokens: int = 60) -> Page:
    limit(page, num_tokens)
    ask(page, "Explain")
    ended(page)
    return page


def test_sources_differ_in_form_as_well_as_in_colour(scripted: Served, open_page: OpenPage) -> None:
    page = open_page(scripted)
    forms = [page.locator(f".legend .token.{name}").evaluate(FORM) for name in SOURCES]
    assert len(set(forms)) == len(SOURCES)
    answered(page)
    for name, form in zip(SOURCES[:3], forms, strict=False):
        assert page.locator(f".strip .token.{name}").first.evaluate(FORM) == form


def test_rejected_and_untested_drafts_show_on_demand_in_place(
    scripted: Served, open_page: OpenPage
) -> None:
    page = answered(open_page(scripted))
    assert page.locator(".strip :is(.rejected, .untested)").count() == 0
    page.locator("label.switch").click()
    expect(page.locator(".strip .rejected").first).to_be_visible()
    expect(page.locator(".strip .untested").first).to_be_visible()
    kept = page.locator(".strip > .line > .token")
    assert kept.count() == 60
    # A refused draft stands right before the token that the target gave instead.
    follows = "node => node.nextElementSibling.className"
    assert "recovered" in page.locator(".refused:has(.rejected)").first.evaluate(follows)


def test_the_legend_counts_what_the_answer_holds(scripted: Served, open_page: OpenPage) -> None:
    page = answered(open_page(scripted))
    for name in SOURCES[:4]:
        told = page.locator(f"[data-count={name}]").inner_text()
        assert int(told) == page.locator(f".strip .token.{name}").count()
    assert int(page.locator("[data-count=rejected]").inner_text()) > 0


def test_hover_and_keyboard_show_all_of_a_token(scripted: Served, open_page: OpenPage) -> None:
    page = answered(open_page(scripted))
    card = page.locator("#token-card")
    page.locator(".strip .token").nth(1).hover()
    expect(card).to_be_visible()
    told = card.inner_text()
    assert "·decoding" in told
    assert "accepted: drafted, and the target agreed" in told
    for name in ("Id", "Step", "depth", "Target", "Draft", "80%", "81%"):
        assert name in told
    assert card.locator("ol li").count() == 5
    page.mouse.move(5, 5)
    expect(card).to_be_hidden()
    page.locator(".strip .token").first.focus()
    page.keyboard.press("ArrowRight")
    expect(card).to_contain_text("·decoding")
    page.keyboard.press("Escape")
    expect(card).to_be_hidden()


def test_a_line_break_is_made_visible(scripted: Served, open_page: OpenPage) -> None:
    page = answered(open_page(scripted))
    page.locator(".strip .token[data-glyph]").first.focus()
    expect(page.locator("#token-card .card-text")).to_have_text("↵")


def test_a_click_selects_the_step_in_text_tree_and_bars(
    scripted: Served, open_page: OpenPage
) -> None:
    page = answered(open_page(scripted))
    token = page.locator(".strip .token.accepted").nth(4)
    text = token.inner_text()
    token.click()
    expect(token).to_have_class("token accepted in-step selected")
    expect(page.locator(".tree .node.selected")).to_contain_text(text)
    step = page.locator("#stage .summary").inner_text().split(":")[0]
    expect(page.locator(".told")).to_contain_text(f"{step}: draft")
    page.keyboard.press("Escape")
    expect(page.locator(".strip .in-step")).to_have_count(0)


def test_the_tree_shows_every_node_and_the_accepted_path(
    scripted: Served, open_page: OpenPage
) -> None:
    page = answered(open_page(scripted))
    page.locator(".strip .token.recovered").first.click()
    tree = page.locator(".tree")
    assert tree.locator(".node.root").count() == 1
    assert tree.locator(".node:not(.root)").count() == 9  # 4 + 2 + 2 drafted, 1 of the target
    assert tree.locator(".node.recovered").count() == 1
    page.locator(".tree .node.rejected").first.hover()
    expect(page.locator("#token-card")).to_contain_text("rejected: drafted, and the target refused")


def test_two_thousand_tokens_cost_the_page_the_same_each(
    scripted: Served, open_page: OpenPage
) -> None:
    """A strip that drew itself anew would touch ever more nodes."""
    page = open_page(scripted)
    page.evaluate(
        """() => {
          window.touched = 0;
          const count = (changes) => { for (const {addedNodes, removedNodes} of changes)
            window.touched += addedNodes.length + removedNodes.length; };
          new MutationObserver(count).observe(
            document.querySelector(".turns"), {childList: true, subtree: true});
        }"""
    )
    answered(page, 2000)
    assert page.locator(".strip .token").count() == 2000
    # A span and a space a token, and a line a paragraph.
    assert page.evaluate("window.touched") < 2000 * 3
