"""Answers as Markdown: structured as the library's own HTML, and nothing of a model as markup."""

import html

import pytest
from markdown_it import MarkdownIt

from app.messages import MarkdownNode
from app.runs.rendered import rendered

TEXTS = (
    "# A title\n\nSome **bold** and *soft* words,\nover two lines.  \nAnd a third.",
    "- one\n- two\n  1. nested\n  2. more\n\n> quoted `code`\n\n---\n",
    "```python\nx = '<b>' & 1\n```\n\n    indented\n",
    "| a | b |\n|---|---|\n| 1 | ~~2~~ |\n",
    "[a page](https://example.org/?a=1&b=2) and <b>no markup</b>\n\n<div onclick='x()'>none</div>",
)
VOID = ("br", "hr")


def written(nodes: list[MarkdownNode]) -> str:
    """The nodes as HTML."""
    parts = []
    for node in nodes:
        tag, inside = node["tag"], html.escape(node["text"]) + written(node["children"])
        href = f' href="{html.escape(node["href"])}"' if node["href"] else ""
        parts.append(f"<{tag}{href}>" if tag in VOID else inside if not tag else "")
        if tag and tag not in VOID:
            parts.append(f"<{tag}{href}>{inside}</{tag}>")
    return "".join(parts)


def plain(text: str) -> str:
    """HTML without what is only layout."""
    return (
        html.unescape(text)
        .replace("\n", "")
        .replace(" />", ">")
        .replace(' class="language-python"', "")
    )


@pytest.mark.parametrize("text", TEXTS)
def test_the_structure_is_that_of_the_library(text: str) -> None:
    parser = MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])
    assert plain(written(rendered(text))) == plain(parser.render(text))


def all_nodes(nodes: list[MarkdownNode]) -> list[MarkdownNode]:
    return [found for node in nodes for found in (node, *all_nodes(node["children"]))]


@pytest.mark.parametrize(
    "text",
    [
        "<script>x()</script>", "a <img src=x onerror=x()> b", "[x](javascript:x())",
        "[x](JaVaScRiPt:x())", "[x](data:text/html,x)", "[x](//elsewhere)", "[x](../clear)",
        "<javascript:x()>", "![x](javascript:x())", "[x]: vbscript:x\n\n[x]",
    ],
)  # fmt: skip
def test_no_markup_and_no_link_to_anything_but_a_page(text: str) -> None:
    nodes = all_nodes(rendered(text))
    assert {node["href"] for node in nodes} <= {""}
    assert not {"script", "img"} & {node["tag"] for node in nodes}


def test_a_picture_is_a_link_and_is_not_fetched() -> None:
    (paragraph,) = rendered("![a cat](https://example.org/cat.png)")
    (picture,) = [node for node in all_nodes([paragraph]) if node["tag"] == "a"]
    assert (picture["text"], picture["href"]) == ("a cat", "https://example.org/cat.png")


def test_deeply_nested_and_unfinished_texts_are_rendered() -> None:
    for text in ("> " * 500 + "x", "[" * 2000, "**a", "```\nopen", "|a|\n|-", "", "\ud83c"):
        rendered(text)
