"""What every command does at the console: encodings, interrupts, pipes that close."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from core.command_line import OneSentenceParser
from core.runtime.console import Interrupt, json_line
from tests.module_map import ROOT


def command(code: str, **more: object) -> "subprocess.CompletedProcess[bytes]":
    """Runs `main` of some code as a command runs."""
    script = f"from core.runtime.console import run_command\n{code}\nrun_command(main)"
    return subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, check=False, **more
    )  # type: ignore[call-overload, no-any-return]


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [("cp1252", "größer ? ?".encode("cp1252")), ("ascii", b"gr??er ? ?"),
     ("utf-8", "größer 😀 ?".encode())],
)  # fmt: skip
def test_characters_that_the_console_lacks_are_replaced(encoding: str, printed: bytes) -> None:
    code = "def main():\n    print('größer \\U0001f600 \\udcff')\n    return 3"
    done = command(code, env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "1"})
    assert (done.returncode, done.stdout.rstrip(), done.stderr) == (3, printed, b"")


def test_an_interrupt_is_one_word() -> None:
    done = command("def main():\n    raise KeyboardInterrupt")
    assert (done.returncode, done.stderr.split()) == (130, [b"stopped"])


@pytest.mark.parametrize("end", ["return 0", "raise SystemExit(0)"])
def test_a_reader_that_goes_away_ends_the_command_quietly(end: str) -> None:
    code = f"def main():\n    for _ in range(9999): print('line')\n    {end}"
    script = f"from core.runtime.console import run_command\n{code}\nrun_command(main)"
    process = subprocess.Popen(
        [sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None and process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141
    process.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no full device")
def test_output_that_finds_no_room_is_one_sentence() -> None:
    with open("/dev/full", "w") as full:
        script = (
            "from core.runtime.console import run_command\nrun_command(lambda: print('x') or 0)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 1
    assert done.stderr.startswith(b"there is no room") and done.stderr.count(b"\n") == 1


def stand_in(path: Path, otherwise: str = "raise") -> None:
    """A module that says that its import has begun, and takes its time; `otherwise` is what it does
    where something is raised meanwhile."""
    path.write_text(
        "import os, pathlib, time\n"
        "pathlib.Path(__file__).with_name('begun').touch()\n"
        f"try: time.sleep(60)\nexcept BaseException: {otherwise}\n"
    )


def started(arguments: list[str], folder: Path) -> "subprocess.Popen[bytes]":
    """Python in the middle of importing the folder's stand-in."""
    process = subprocess.Popen(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(folder)},
        stderr=subprocess.PIPE,
    )
    while not (folder / "begun").exists():
        assert process.poll() is None, "it ended before it could be interrupted"
        time.sleep(0.01)
    return process


def test_an_interrupt_while_torch_is_imported_is_one_word(tmp_path: Path) -> None:
    """Its C++ aborts the process where something is raised in its midst."""
    stand_in(tmp_path / "torch.py", "os.abort()")
    process = started(["-m", "core.benchmark.compare", "--modes", "ngram"], tmp_path)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    assert process.returncode == 130
    assert told == b"stopped\n"


COMMANDS = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts)
    for path in sorted((ROOT / "core").rglob("*.py"))
    if path.read_text(encoding="utf-8").endswith("run_command(main)\n")
]
EARLY = [
    *(["-m", command] for command in COMMANDS),
    ["app.py"],
    *(["-c", f"from app.scripts import {name}; {name}()"] for name in ("page", "generate")),
]


@pytest.mark.parametrize("arguments", EARLY, ids=" ".join)
def test_an_interrupt_while_the_command_itself_is_imported_is_one_word(
    arguments: list[str], tmp_path: Path
) -> None:
    """A stand-in for what all commands import first."""
    stand_in(tmp_path / "argparse.py")
    process = started(arguments, tmp_path)
    process.send_signal(signal.SIGINT)
    _, told = process.communicate()
    assert (process.returncode, told) == (130, b"stopped\n")


def test_the_first_interrupt_raises_the_flag_and_the_second_one_interrupts() -> None:
    interrupt = Interrupt()
    with interrupt.caught():
        assert not interrupt()
        signal.raise_signal(signal.SIGINT)
        assert interrupt()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_json_needs_nothing_of_a_console() -> None:
    assert json_line({"a": "ä😀\u2028\udcff"}) == '{"a": "\\u00e4\\ud83d\\ude00\\u2028\\udcff"}'
    assert json_line({"a": float("nan")}) == '{"a": null}'


def test_arguments_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    parser = OneSentenceParser(prog="it")
    parser.add_argument("--prompt")
    # What a console whose encoding is ASCII hands over for UTF-8.
    utf8 = "über".encode().decode("ascii", "surrogateescape")
    assert parser.parse_args(["--prompt", utf8]).prompt == "über"
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(["--prompt", "stra\udcdfe"])
    told = capsys.readouterr().err
    assert told == "it: argument 2 is not UTF-8 text: 'stra\\udcdfe'; see --help.\n"


SWALLOWED = """
import signal
from core.runtime.console import Interrupt
from core.models.progress_bar import ProgressBar

def swallow():
    try:
        signal.raise_signal(signal.SIGINT)
    except BaseException:
        pass

def main():
    swallow()
    {then}
    return 0
"""


@pytest.mark.parametrize(
    ("then", "status", "told"),
    [
        ("raise ImportError('half a package')", 130, b"stopped"),
        ("ProgressBar('it').show('loading', 0, 0)", 130, b"stopped"),
        ("with ProgressBar('it'): pass", 130, b"stopped"),
        ("return 7 if Interrupt()() else 0", 7, b""),
    ],
)
def test_an_interrupt_that_an_import_swallows_is_not_lost(
    then: str, status: int, told: bytes
) -> None:
    done = command(SWALLOWED.format(then=then))
    assert (done.returncode, done.stderr.strip()) == (status, told)


def test_a_command_that_is_to_run_on_behind_a_closed_terminal_ignores_interrupts() -> None:
    code = "import signal\nsignal.signal(signal.SIGINT, signal.SIG_IGN)\n" + SWALLOWED
    assert command(code.format(then="raise_ = Interrupt()()")).returncode == 0
