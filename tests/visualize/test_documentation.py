from core.trace.events import EVENT_CLASSES
from visualize.columns import COLUMNS
from visualize.documentation import PAGE, with_tables


def test_the_tables_of_the_page_are_those_of_the_code() -> None:
    """To mend: `python -m visualize.documentation`."""
    page = PAGE.read_text("utf-8")
    assert with_tables(page) == page


def test_the_page_names_every_event_and_table() -> None:
    page = PAGE.read_text("utf-8")
    for name in (*EVENT_CLASSES, *COLUMNS):
        assert f"### `{name}`" in page
