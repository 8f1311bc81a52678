"""The installed program: everything that it needs is in the wheel, and it works from any directory."""

import email
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import urllib.request
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import core
from tests.faults.killed import free_port
from tests.own_cache import own_cache
from tests.test_structure import ROOMS
from tests.tiny_folder import save_tiny_model

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXTRAS = ("cuda", "ray", "train")
PATIENCE_S = 60.0


def files_of(room: str) -> set[str]:
    """Everything in a room's folder that is not made by running it."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / room).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built of a copy, as building leaves files beside the sources."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for room in ROOMS:
        shutil.copytree(ROOT / room, source / room, ignore=shutil.ignore_patterns("__pycache__"))
    for path in ROOT.iterdir():
        if path.is_file():
            shutil.copy(path, source)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--wheel-dir", str(out), str(source)], check=True)
    (path,) = out.glob("*.whl")
    return path


def test_the_wheel_has_every_file_of_the_rooms_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == set().union(*map(files_of, ROOMS))
    assert {"app/static/store.js", "core/backends/cpu/kernels.cpp"} <= names
    assert {"core/py.typed", "core/benchmark/questions.jsonl"} <= names
    assert any(name.startswith("core/models/weights/") for name in names)


def requirements(name: str) -> set[str]:
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    return {line.partition("#")[0].strip() for line in lines} - {""}


def test_the_wheel_asks_for_the_packages_that_make_installs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/METADATA"))
        metadata = email.message_from_bytes(archive.read(name))
        licences = {Path(name).name for name in archive.namelist() if "/licenses/" in name}
    assert licences == {"LICENSE", "NOTICE"}
    assert (metadata["Name"], metadata["Version"]) == ("specdecodes", core.__version__)
    given = {text.replace('"', "'") for text in metadata.get_all("Requires-Dist", [])}
    expected = requirements("requirements.txt")
    for extra in EXTRAS:
        names = requirements(f"requirements-{extra}.txt")
        expected |= {f"{name}; extra == '{extra}'" for name in names}
    assert given == expected


@pytest.fixture(scope="module")
def scripts(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The commands of an environment that has this environment's packages and the wheel alone."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    place = sysconfig.get_path("purelib", vars={"base": str(folder)})
    own = "\n".join(path for path in sys.path if path.endswith("-packages"))
    (Path(place) / "others.pth").write_text(own, encoding="utf-8")
    commands = folder / ("Scripts" if os.name == "nt" else "bin")
    pip = [sys.executable, "-m", "pip", "--python", str(commands / "python"), "install"]
    subprocess.run([*pip, "--quiet", "--no-deps", "--no-index", str(wheel)], check=True)
    return commands


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory far from the repository, with a tiny model."""
    monkeypatch.setenv("SPECDECODES_HOME", own_cache(tmp_path / "cache"))
    monkeypatch.delenv("PYTHONPATH", raising=False)
    save_tiny_model(tmp_path / "tiny")
    return tmp_path


@pytest.mark.parametrize("command", PROJECT["project"]["scripts"])
def test_every_command_says_what_it_takes_and_its_version(
    command: str, scripts: Path, elsewhere: Path
) -> None:
    for word, told in (("--help", f"usage: {command}"), ("--version", core.__version__)):
        done = subprocess.run(
            [scripts / command, word], cwd=elsewhere, capture_output=True, text=True, check=True
        )
        assert told in done.stdout


def test_a_prompt_runs_there_and_its_trace_names_the_version(
    scripts: Path, elsewhere: Path
) -> None:
    words = ["--prompt", "Hi", "--target", "tiny", "--max-new-tokens", "4"]
    subprocess.run(
        [scripts / "specdecodes-generate", *words, "--trace", "run.jsonl", "--csv", "steps.csv"],
        cwd=elsewhere,
        check=True,
        capture_output=True,
    )
    started = json.loads((elsewhere / "run.jsonl").read_text(encoding="utf-8").splitlines()[1])
    assert started["versions"]["specdecodes"] == core.__version__
    assert (elsewhere / "steps.csv").is_file()


@contextmanager
def served(command: list[str], folder: Path) -> Iterator[str]:
    """The address that a page tells when it is ready."""
    process = subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"SpecDecodes is at (\S+)", line)
        assert found, line
        yield found[1].rstrip("/")
    finally:
        process.terminate()
        process.wait(PATIENCE_S)


def read(address: str) -> str:
    with urllib.request.urlopen(address, timeout=PATIENCE_S) as answer:
        return str(answer.read().decode("utf-8"))


def test_the_page_is_served_there_with_all_its_files(scripts: Path, elsewhere: Path) -> None:
    command = [str(scripts / "specdecodes"), "--target", "tiny", "--port", str(free_port())]
    with served(command, elsewhere) as address:
        assert "SpecDecodes" in read(address + "/")
        static = ROOT / "app" / "static"
        for path in sorted(path for path in static.rglob("*") if path.is_file()):
            name = path.relative_to(static).as_posix()
            given = read(f"{address}/specdecodes/static/{name}")
            assert given == path.read_text(encoding="utf-8")
        assert json.loads(read(f"{address}/specdecodes/status.json"))["phase"]


def test_version_and_changes_are_told_alike_everywhere() -> None:
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    newest = re.search(r"^## (\S+)", changes, re.M)
    cited = re.search(r"^version: (\S+)", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.M)
    assert newest and cited
    assert newest[1] == cited[1] == core.__version__
