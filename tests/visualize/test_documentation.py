from pathlib import Path

import pytest

from core.trace.events import EVENT_CLASSES
from visualize.columns import COLUMNS
from visualize.documentation import PAGES, with_tables


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_tables_of_a_page_are_those_of_the_code(page: Path) -> None:
    """To mend: `python -m visualize.documentation`."""
    text = page.read_text("utf-8")
    assert with_tables(text) == text


def test_the_pages_name_every_event_and_table() -> None:
    for page, tables in PAGES.items():
        events = EVENT_CLASSES if tables is COLUMNS else ()
        for name in (*events, *tables):
            assert f"### `{name}`" in page.read_text("utf-8")
