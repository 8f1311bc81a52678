"""Modes: what is described, what is refused, and drafters that come in packages of others."""

import json
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

from core.errors import InvalidSettingError
from core.modes.registry import Mode, mode_names, modes, register, resolved
from core.modes.settings import DrafterSettings
from core.settings import setting

ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "tests" / "example_drafter"


def test_the_modes_are_those_of_the_files_in_the_order_of_their_groups() -> None:
    assert mode_names() == (
        "naive", "ngram", "sd-classic", "sd-block", "sd-eagle", "sd-medusa", "sd-mtp", "layer-skip",
        "share-sd", "hybrid", "server",
    )  # fmt: skip


def test_whatever_is_imported_first_the_order_is_the_same() -> None:
    program = (
        "import core.modes.hybrid, core.modes.sd_eagle\n"
        "from core.modes.registry import mode_names\nprint(*mode_names())"
    )
    made = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert made.stdout.split() == list(mode_names())


@pytest.mark.parametrize("name", mode_names())
def test_every_mode_but_plain_decoding_and_servers_has_a_maker(name: str) -> None:
    has_none = name == "naive" or modes()[name].is_elsewhere
    assert callable(resolved(modes()[name].factory)) != has_none


@dataclass(frozen=True, kw_only=True)
class _Clashing(DrafterSettings):
    """Drafts nothing."""

    depth: float = setting(0.5, "a depth of another kind")


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        (Mode("ngram", "lookup"), "named ngram already"),
        (Mode("n gram", "lookup"), "give letters, digits and hyphens"),
        (Mode("other", "odd"), "'odd'; give one of plain, lookup"),
        (Mode("other", "lookup", _Clashing), "depth of mode other is of another kind"),
    ],
)
def test_a_mode_that_does_not_fit_is_refused_in_a_sentence(mode: Mode, words: str) -> None:
    modes()
    with pytest.raises(InvalidSettingError, match=words):
        register(mode)
    assert "other" not in modes()


@pytest.fixture(scope="module")
def other_python(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An environment with all packages of this one, in which the example is installed."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "parent.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    source = tmp_path_factory.mktemp("source")
    for path in EXAMPLE.iterdir():
        if path.is_file():
            (source / path.name).write_text(path.read_text("utf-8"), "utf-8")
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    subprocess.run(
        [*install, "--no-deps", "--no-index", "--no-build-isolation", str(source)],
        check=True, timeout=300,
    )  # fmt: skip
    return str(python)


def output_of(python: str, *arguments: str) -> str:
    done = subprocess.run(
        [python, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_an_installed_drafter_decodes_from_the_command_line(
    other_python: str, tiny_home: Path
) -> None:
    target = str(tiny_home / "target")
    command = ["-m", "core.generate", "--target", target, "--raw", "--prompt", "abcabcabcabc"]
    common = ["--max-new-tokens", "12", "--json", "--no-compile"]
    plain = json.loads(output_of(other_python, *command, *common))
    drafted = json.loads(
        output_of(other_python, *command, *common, "--mode", "bigram", "--chain", "3")
    )
    assert drafted["text"] == plain["text"]
    assert drafted["stats"]["num_drafted"] > 0
    assert "bigram" not in mode_names(), "this environment has no such package"


def test_an_installed_drafter_is_in_the_form_of_the_page(other_python: str) -> None:
    code = (
        "from app.runs.run_form import mode_fields, mode_help\n"
        "print(mode_help('bigram'))\n"
        "print([(field.key, field.default) for field in mode_fields('bigram')])"
    )
    help_text, fields = output_of(other_python, "-c", code).splitlines()
    assert help_text.startswith("What followed the last token most often drafts")
    assert fields == "[('bigram.chain', 4)]"
