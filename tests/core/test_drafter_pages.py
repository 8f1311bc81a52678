"""Every drafter has its page, and the page tells the settings as they are."""

import pytest

from core.modes.registry import modes
from tests.core.settings_tables import FOLDER, with_table


@pytest.mark.parametrize("mode", [mode.name for mode in modes().values() if mode.settings])
def test_the_page_of_a_drafter_tells_its_settings(mode: str) -> None:
    """To mend: `python -m tests.core.settings_tables`."""
    page = (FOLDER / f"{mode}.md").read_text(encoding="utf-8")
    assert with_table(page, mode) == page
