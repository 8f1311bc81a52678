"""An answer as Markdown: nodes that the page builds, in which the model's words are only ever text.

Markup in an answer stays what it is, characters. Links lead to other pages by http, https or mail alone;
pictures are never fetched, and stand as a link to where they are.
"""

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final

from markdown_it import MarkdownIt
from markdown_it.token import Token

from app.messages import MarkdownNode

_TAGS: Final = frozenset((
    "p", "h1", "h2", "h3", "h4", "h5", "h6", "ul", "ol", "li", "blockquote", "pre", "code", "em",
    "strong", "s", "hr", "br", "table", "thead", "tbody", "tr", "th", "td", "a",
))  # fmt: skip
_SCHEMES: Final = ("http://", "https://", "mailto:")


def rendered(text: str) -> list[MarkdownNode]:
    """The blocks of a text in CommonMark, with tables and strike-through."""
    return _nested(_parser().parse(text))


@cache
def _parser() -> MarkdownIt:
    return MarkdownIt("commonmark", {"html": False}).enable(["table", "strikethrough"])


def _nested(tokens: Sequence[Token]) -> list[MarkdownNode]:
    """Nodes of a flat list in which a token opens what another one closes."""
    root: list[MarkdownNode] = []
    open_lists = [root]
    for token in tokens:
        if token.nesting < 0:
            open_lists.pop()
            continue
        for node in _nodes_of(token):
            open_lists[-1].append(node)
            if token.nesting > 0:
                open_lists.append(node["children"])
    return root


def _nodes_of(token: Token) -> Iterator[MarkdownNode]:
    """What a token becomes; a paragraph of a tight list is opened as well, and its words alone shown."""
    match token.type:
        case "inline":
            yield from _nested(token.children or [])
        case "text" | "html_inline" | "html_block":
            yield _node("", token.content)
        case "softbreak":
            yield _node("", "\n")
        case "fence" | "code_block":
            yield _node("pre", children=[_node("code", token.content)])
        case "code_inline":
            yield _node("code", token.content)
        case "image":
            yield _node("a", token.content, href=_href(token, "src"))
        case _:
            tag = token.tag if token.tag in _TAGS and not token.hidden else ""
            yield _node(tag, href=_href(token, "href"))


def _node(
    tag: str, text: str = "", children: list[MarkdownNode] | None = None, href: str = ""
) -> MarkdownNode:
    return {
        "tag": tag,
        "text": text,
        "href": href,
        "children": [] if children is None else children,
    }


def _href(token: Token, name: str) -> str:
    """Where it leads; empty where a page of this program must not lead."""
    address = str(token.attrs.get(name, ""))
    return address if address.lower().startswith(_SCHEMES) else ""
