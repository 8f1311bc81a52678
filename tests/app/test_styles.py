"""Styles and what they are for go by the same names."""

import re
from pathlib import Path

APP = Path(__file__).parents[2] / "app"
# Drawn by Gradio.
GRADIOS_OWN = {
    "checkbox-container", "contain", "fillable", "gradio-container", "html-container", "icon-wrap",
    "info-text", "input-container", "label-text", "padded", "secondary-wrap", "sidebar-parent",
    "wrap", "wrap-inner",
}  # fmt: skip


def test_every_style_is_for_something_that_the_page_draws() -> None:
    code = [*APP.rglob("*.py"), *(APP / "static").glob("*.js")]
    drawn = {
        word for path in code for word in re.findall(r"[\w-]+", path.read_text(encoding="utf-8"))
    }
    drawn |= {word.replace("_", "-") for word in drawn}
    drawn |= {f"tab-{word}" for word in drawn}  # `_tab(name)` draws it
    styled = set()
    for path in (APP / "static").glob("*.css"):
        text = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for selectors in re.findall(r"([^{}]+)\{", text):
            styled |= set(re.findall(r"[.#]([A-Za-z][\w-]*)", selectors))
    assert styled - drawn - GRADIOS_OWN == set()
