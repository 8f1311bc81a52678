"""Tables of settings for the pages in docs/drafters, made from the settings classes.

`python -m tests.core.settings_tables` writes them into the pages.
"""

import dataclasses
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

from core.modes.registry import settings_class

FOLDER = Path(__file__).parents[2] / "docs" / "drafters"
START, END = "<!-- settings -->", "<!-- end -->"


def table(mode: str) -> str:
    """Every setting of a mode with its default and what is allowed."""
    cls = settings_class(mode)
    assert cls is not None
    hints = get_type_hints(cls)
    lines = ["| option | default | allowed | what it does |", "| --- | --- | --- | --- |"]
    for item in dataclasses.fields(cls):
        flag = "--" + item.name.replace("_", "-")
        hint, low, high = hints[item.name], item.metadata["low"], item.metadata["high"]
        if get_origin(hint) is Literal:
            allowed = ", ".join(map(str, get_args(hint)))
        elif hint is bool:
            allowed = "given or not"
        elif low is not None:
            allowed = f"{low} to {high}"
        else:
            allowed = "separated by commas"
        default = item.default
        shown = {True: "given", False: "not given", (): "none"}.get(default, default)
        if hint is not bool and default != ():
            shown = default
        lines.append(f"| `{flag}` | {shown} | {allowed} | {item.metadata['help']} |")
    return "\n".join(lines)


def with_table(page: str, mode: str) -> str:
    """The page with the present table between its marks."""
    head, _, rest = page.partition(START)
    _, _, tail = rest.partition(END)
    return f"{head}{START}\n{table(mode)}\n{END}{tail}"


if __name__ == "__main__":
    for path in sorted(FOLDER.glob("*.md")):
        text = path.read_text(encoding="utf-8")
        path.write_text(with_table(text, path.stem), encoding="utf-8")
