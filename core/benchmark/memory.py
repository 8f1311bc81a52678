"""Measures what a plain run holds in memory: python -m core.benchmark.memory --weights q4

Stage by stage, in this process: imports, the model's header and tokenizer, its weights, a run. Linux
alone tells it.
"""

from pathlib import Path
from typing import NamedTuple

from core.benchmark.start import PROMPT
from core.benchmark.tables import Table, print_tables
from core.command_line import OneSentenceParser, add_run_options, config_from_options, told
from core.errors import InvalidSettingError, SpecDecodesError
from core.models.sources import find_model
from core.runtime.console import run_command
from core.runtime.imports import quick_imports
from core.runtime.storage import no_progress

_STATUS = Path("/proc/self/status")
_FIELDS = {"VmRSS": "resident", "RssAnon": "own", "RssFile": "of files", "VmHWM": "peak"}


class Stage(NamedTuple):
    """What the process holds at a moment, in megabytes of a million bytes."""

    name: str
    resident: float
    own: float
    files: float
    """Pages of libraries and models, which the system may take back."""
    peak: float
    """The most until then."""


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns an exit status."""
    parser = OneSentenceParser(prog="core.benchmark.memory", description=__doc__)
    add_run_options(parser)
    options = parser.parse_args(arguments)
    try:
        if not _STATUS.exists():
            raise InvalidSettingError("this system has no /proc, which tells a process' memory.")
        config = config_from_options(options)
        stages = [_stage("options read")]
        source = find_model(config.target, no_progress)
        stages.append(_stage("header and tokenizer"))
        with quick_imports():
            from core.engine import Engine
            from core.loading.loading import load_target
        stages.append(_stage("torch and engine imported"))
        engine = Engine(load_target(config, source=source))
        del source
        stages.append(_stage("weights loaded"))
        prompt = engine.chat_prompt([{"role": "user", "content": PROMPT}])
        for _ in engine.run(prompt, config):
            pass
        stages.append(_stage("an answer given"))
    except SpecDecodesError as error:
        return told(error)
    print_tables([stage_table(stages)])
    return 0


def _stage(name: str) -> Stage:
    return Stage(name, *read_status(_STATUS.read_text(encoding="utf-8")))


def read_status(status: str) -> list[float]:
    """The numbers of a `Stage` in what Linux says of a process (proc(5))."""
    found = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return [int(found[field].split()[0]) * 1024 / 1e6 for field in _FIELDS]


def stage_table(stages: list[Stage]) -> Table:
    """A row a stage."""
    rows = [(stage.name, *(f"{number:.0f}" for number in stage[1:])) for stage in stages]
    return Table("Megabytes held", ("", *_FIELDS.values()), rows)


if __name__ == "__main__":
    run_command(main)
