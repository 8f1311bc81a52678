"""The arrows between the rooms: each room imports only from those below it, so that no circle is."""

import ast
from collections import defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.module_map import ROOT

# What each room may import. Commands and settings stand at the top of core/, each file a room.
ARROWS: dict[str, str] = {
    "core.errors": "",
    "core.trees": "",
    "core.settings": "errors",
    "core.runtime": "errors",
    "core.modes": "errors settings",
    "core.trace": "errors runtime",
    "core.families": "",
    "core.backends": "errors trees runtime modes families",
    "core.acceptance": "errors trees settings backends",
    "core.quant": "errors runtime backends",
    "core.config": "errors settings modes acceptance",
    "core.command_line": "errors settings modes acceptance config",
    "core.attached": "errors modes trace config",
    "core.models": "errors runtime modes families backends config command_line",
    "core.distributed": "errors backends models",
    "core.loading": "errors settings runtime families backends quant config models distributed",
    "core.drafters": "errors trees runtime modes families backends acceptance quant config "
    "command_line models loading",
    "core.profile": "errors trees modes trace backends acceptance config drafters",
    "core.decoding": "errors trees runtime modes trace families backends acceptance quant config "
    "models loading drafters",
    "core.train": "errors runtime families backends config command_line models distributed loading "
    "drafters",
    "core.engine": "errors settings runtime modes trace backends acceptance quant config models loading "
    "drafters profile decoding",
    "core.__init__": "runtime errors modes trace config attached loading drafters decoding engine",
    "core.benchmark": "errors runtime modes trace backends acceptance config command_line attached "
    "models distributed loading drafters profile decoding engine",
    "core.generate": "errors settings runtime modes trace config command_line attached models "
    "distributed loading drafters engine",
    "core.generate_batch": "errors runtime modes trace config command_line attached models "
    "distributed loading drafters engine",
    "app.engines": "",
    "app.own_folders": "",
    "app.root_path": "",
    "app.messages": "",
    "app.runs": "engines root_path messages",
    "app.server": "engines root_path messages runs",
    "app.api": "engines runs server",
    "app.route_server": "root_path server",
    "app.pages": "messages runs server",
    "app.serving": "root_path runs server pages route_server",
    "app.main": "engines own_folders root_path runs server pages api route_server serving",
    "app.scripts": "",
}
FILES = sorted(path for top in ("core", "app") for path in (ROOT / top).rglob("*.py"))


def room_of(module: str) -> str:
    """The first two parts of a module's name."""
    return ".".join(module.split(".")[:2])


def imports_between_rooms() -> dict[str, dict[str, set[str]]]:
    """By room and the room that it imports from, the files that do; imports inside functions and
    those for the types alone count as well."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for path in FILES:
        name = path.relative_to(ROOT).as_posix()
        module = ".".join(Path(name).with_suffix("").parts)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module in ("core", "app"):
                told = [alias.name for alias in node.names if alias.name != "__version__"]
                names = [f"{node.module}.{name}" for name in told]
            elif isinstance(node, ast.ImportFrom):
                names = [node.module or ""]
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for imported in names:
                here, there = room_of(module), room_of(imported)
                is_inside = imported.split(".")[0] == module.split(".")[0]
                if is_inside and "." in imported and here != there:
                    found[here][there].add(name)
    return found


ARROWS_OF = {
    room: {f"{room.split('.')[0]}.{other}" for other in allowed.split()}
    for room, allowed in ARROWS.items()
}
FOUND = imports_between_rooms()


@pytest.mark.parametrize("room", sorted(FOUND))
def test_a_room_imports_only_from_those_below(room: str) -> None:
    wrong = {
        other: sorted(files)
        for other, files in FOUND[room].items()
        if other not in ARROWS_OF.get(room, set())
    }
    assert not wrong


def test_the_arrows_have_no_circle() -> None:
    order = list(TopologicalSorter(ARROWS_OF).static_order())
    assert set(order) == set(ARROWS)


@pytest.mark.parametrize("room", sorted(ARROWS))
def test_no_arrow_is_drawn_that_nobody_needs(room: str) -> None:
    assert ARROWS_OF[room] <= set(FOUND[room])
