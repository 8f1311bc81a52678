"""The rooms: who imports whom, how large files are, and that importing does nothing else."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.module_map import PAGE, ROOT, with_map

ROOMS = ("core", "app", "visualize", "presets")
ALLOWED = {
    "core": set(),
    "presets": {"core.config", "core.errors"},
    "visualize": {
        "core.trace.events",
        "core.trace.file",
        "core.trace.pauses",
        "core.trace.stats",
        "core.errors",
        "core.runtime.strict_json",
        "core.runtime.text_files",
    },
    "app": {"core", "visualize", "presets"},
}
# Commands join rooms: this one writes tables with the exports that the page uses.
COMMANDS = {
    ("core/generate.py", "visualize.exports"),
    ("core/benchmark/compare.py", "visualize.report.comparison"),
    ("core/benchmark/profile.py", "visualize.report.lab"),
    ("core/benchmark/trace_folder.py", "visualize.exports"),
    # And this one is a command, and tells errors as the others do.
    ("visualize/__main__.py", "core.command_line"),
    ("visualize/__main__.py", "core.runtime.console"),
}
# Training draws its own curves as it goes.
DRAWINGS = {("core/train/event_log.py", "plotly.subplots")}
FOREIGN = {
    "core": {"gradio", "plotly", "pandas"},
    "visualize": {"torch", "gradio", "transformers"},
    "presets": {"torch", "gradio", "plotly", "pandas"},
}
WITHOUT_TORCH = (
    "core.trace.events",
    "core.trace.file",
    "core.trace.pauses",
    "core.trace.stats",
    "core.config",
    "core.errors",
    "core.profile.replay",
)
# Run by another Python without the rest of the project, or by a command alone.
NO_COMMAND = {"loop.py", "llama_server.py", "transformers_worker.py"}
MAX_LINES = 500

FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))


def imports_of(path: Path) -> set[str]:
    """Modules that a file names in its imports, those inside functions as well."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            found.add(node.module or "")
    return found


def is_within(module: str, allowed: set[str]) -> bool:
    return any(module == name or module.startswith(name + ".") for name in allowed)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_what_its_room_may(path: Path) -> None:
    name = path.relative_to(ROOT).as_posix()
    room = name.split("/")[0]
    for module in imports_of(path):
        is_drawing = (name, module) in DRAWINGS
        assert is_drawing or not is_within(module, FOREIGN.get(room, set())), f"{name}: {module}"
        if module.split(".")[0] in ROOMS and not is_within(module, {room} | ALLOWED[room]):
            assert (name, module) in COMMANDS, f"{name} imports {module}"


# Written in a language that requirements.txt leaves out.
ONLY_WITH_A_GPU = {"triton_attention", "tree_growth_kernels"}


@pytest.mark.parametrize(
    "path",
    [
        *FILES,
        ROOT / "app.py",
        *sorted((ROOT / "tests").rglob("*.py")),
        *sorted((ROOT / "app" / "static").glob("*.js")),
        *sorted((ROOT / "app" / "static").glob("*.css")),
    ],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_no_file_is_long(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_LINES


COMMAND_FILES = [
    path
    for path in (
        ROOT / "app.py",
        ROOT / "visualize" / "__main__.py",
        *(ROOT / "core").rglob("*.py"),
    )
    if "__main__" in path.read_text(encoding="utf-8") and path.name not in NO_COMMAND
]


def test_contracts_open_without_torch() -> None:
    """Those of commands as well, so that a bad option is told at once."""
    blocked = (
        "import sys\n"
        "for name in ('torch', 'transformers', 'numpy', 'gradio'): sys.modules[name] = None\n"
    )
    # The package app/ hides app.py where both are looked for by name.
    commands = [module_name(path) for path in COMMAND_FILES if path.name != "app.py"]
    commands.append("app.main")
    code = blocked + "\n".join(f"import {module}" for module in (*WITHOUT_TORCH, *commands))
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize("path", COMMAND_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_meets_the_console_in_the_same_way(path: Path) -> None:
    assert path.read_text(encoding="utf-8").endswith(
        'if __name__ == "__main__":\n    run_command(main)\n'
    )


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def test_importing_every_module_prints_nothing_and_loads_no_model() -> None:
    modules = [
        module_name(path)
        for path in FILES
        if path.name != "__init__.py" and path.stem not in ONLY_WITH_A_GPU
    ]
    code = (
        "import importlib, os, sys, threading\n"
        "before = dict(os.environ)\n"
        f"for name in {modules!r}: importlib.import_module(name)\n"
        "changed = {k for k in os.environ if os.environ[k] != before.get(k)}\n"
        "ours = {k for k in changed if k.startswith(('SPECDECODES', 'CUDA', 'GRADIO'))}\n"
        "assert not ours, ours\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == ""


# Jinja templates write prompts with it, and lay it out as transformers does.
OTHER_JSON = {"core/models/chat_template.py"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_json_leaves_that_holds_what_is_no_number(path: Path) -> None:
    """`core.runtime.strict_json` writes null; whoever writes otherwise must rather raise."""
    name = path.relative_to(ROOT).as_posix()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in ("json.dumps", "json.dump"):
            is_strict = any(
                word.arg == "allow_nan" and ast.unparse(word.value) == "False"
                for word in node.keywords
            )
            assert is_strict or name in OTHER_JSON, f"{name}: use core.runtime.strict_json"
    assert "JSONResponse" not in path.read_text(encoding="utf-8"), f"{name}: use app.server.bodies"


def test_packages_say_nothing_but_where_names_are_exported() -> None:
    for path in FILES:
        if path.name == "__init__.py" and path.parent != ROOT / "core":
            assert path.read_text(encoding="utf-8") == "", path


def test_the_map_of_modules_is_that_of_the_code() -> None:
    """To mend: `make docs`."""
    page = PAGE.read_text(encoding="utf-8")
    assert with_map(page) == page
    assert "|  |" not in page, "a module does not say what it is"
