"""The documentation names what there is: modules, files, links, commands and their options."""

import os
import re
import subprocess
import sys
from functools import cache

import pytest

from tests.module_map import ROOMS, ROOT

PAGES = sorted(
    path
    for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
    if path.name != "CHANGELOG.md"  # tells what there was as well
)
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in PAGES}
# What users type, and what stands in sentences.
_COMMAND = re.compile(
    r"(?:python3? -m (core(?:\.\w+)+|visualize\.\w+|tests(?:\.\w+)+)|python (app\.py))([^`\n|]*)"
)
_NAME = re.compile(rf"`((?:{'|'.join((*ROOMS, 'tests'))})(?:\.\w+)+)`")
_PATH = re.compile(rf"`((?:{'|'.join((*ROOMS, 'tests', 'docs'))})/[\w./-]*)`")
_LINK = re.compile(r"\]\((?!\w+:)([^)#\s]*)(?:#([\w-]+))?\)")


def is_there(name: str) -> bool:
    """Whether a dotted name is a room's module, or something that a module holds."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:length])
        module = place / "__init__.py" if place.is_dir() else place.with_suffix(".py")
        if place.is_dir() and length == len(parts):
            return True
        if module.is_file():
            text = module.read_text(encoding="utf-8")
            return all(re.search(rf"\b{part}\b", text) for part in parts[length:])
    return False


def headings(text: str) -> set[str]:
    """Anchors of a page, as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", text, re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", TEXTS)
def test_every_module_and_file_that_is_named_is_there(page: str) -> None:
    names = {name for name in _NAME.findall(TEXTS[page]) if not name.endswith(".py")}
    missing = {name for name in names if not is_there(name)}
    missing |= {path for path in _PATH.findall(TEXTS[page]) if not (ROOT / path).exists()}
    assert not missing


@pytest.mark.parametrize("page", TEXTS)
def test_every_link_leads_somewhere(page: str) -> None:
    for target, anchor in _LINK.findall(TEXTS[page]):
        place = (ROOT / page).parent / target if target else ROOT / page
        assert place.exists(), target
        if anchor:
            assert anchor in headings(place.read_text(encoding="utf-8")), f"{target}#{anchor}"


def commands() -> dict[str, set[str]]:
    """By command, the options that the pages give it."""
    found: dict[str, set[str]] = {}
    for text in TEXTS.values():
        joined = text.replace("\\\n", " ")
        for module, script, rest in _COMMAND.findall(joined):
            options = set(re.findall(r"(?<=\s)--[a-z][\w-]*", rest.split(" #")[0]))
            found.setdefault(module or script, set()).update(options)
    return found


@cache
def help_of(command: str) -> str:
    words = [command] if command.endswith(".py") else ["-m", command]
    done = subprocess.run(
        [sys.executable, *words, "--help"],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


# These take no options, and write at once.
WRITERS = {"visualize.documentation", "tests.module_map", "tests.page_types"}
COMMANDS = sorted(set(commands()) - WRITERS)
# Of torchrun, gguf-new-metadata and TensorBoard.
OF_OTHERS = {
    "--nproc-per-node", "--pre-tokenizer", "--logdir", "--no-binary",
    "--per-request-spec-decode-metrics",
}  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_the_options_that_are_shown(command: str) -> None:
    told = help_of(command)
    assert commands()[command] <= set(re.findall(r"--[a-z][\w-]*", told))


def test_every_option_that_is_named_is_one_of_some_command() -> None:
    taken = set(re.findall(r"--[a-z][\w-]*", " ".join(map(help_of, COMMANDS))))
    named = {
        name for text in TEXTS.values() for name in re.findall(r"(?<![\w-])--[a-z][\w-]*", text)
    }
    assert named - taken == OF_OTHERS


def test_make_has_every_target_that_is_named() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    named = {
        name for text in TEXTS.values() for name in re.findall(r"(?:^|`)make ([a-z-]+)", text, re.M)
    }
    assert named <= targets
