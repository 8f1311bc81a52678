"""Writes the map of modules in docs/structure.md from the code: `python -m tests.module_map`."""

import ast
import re
from itertools import takewhile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "structure.md"
ROOMS = ("app", "core", "visualize", "presets")
_PLACE = re.compile(r"(<!-- modules -->\n).*?(<!-- end -->)", re.DOTALL)
_COMMENT = re.compile(r"^(?:/\*|//)\s*(.*?)\s*(?:\*/)?$")


def with_map(page: str) -> str:
    """The page with the map between its marks made anew."""
    return _PLACE.sub(lambda match: match[1] + module_map() + match[2], page)


def module_map() -> str:
    """A section a folder, a line a module: the first paragraph of what it says of itself."""
    files = [ROOT / "app.py"]
    for room in ROOMS:
        files += sorted((ROOT / room).rglob("*.py")) + sorted((ROOT / room).rglob("*.js"))
    folders: dict[str, list[str]] = {}
    for file in files:
        if file.name == "__init__.py":
            continue
        folder = file.parent.relative_to(ROOT).as_posix()
        folders.setdefault(folder, []).append(f"| `{file.name}` | {_first_paragraph(file)} |")
    parts = []
    for folder, lines in sorted(folders.items()):
        title = "The launcher" if folder == "." else f"`{folder}/`"
        parts.append("\n".join([f"### {title}", "", "| module | what it is |", "| --- | --- |"]))
        parts[-1] += "\n" + "\n".join(lines)
    return "\n\n".join(parts) + "\n"


def _first_paragraph(file: Path) -> str:
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".py":
        line = (ast.get_docstring(ast.parse(text)) or "").split("\n\n")[0]
    else:
        head = takewhile(bool, map(_COMMENT.match, text.splitlines()))
        line = " ".join(found[1] for found in head if found)
    return " ".join(line.split()).replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(with_map(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
