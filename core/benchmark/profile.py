"""Measures once and answers what if: `python -m core.benchmark.profile --modes ngram,sd-eagle`.

Plain decoding runs once a question, and every drafter says at each position what it would propose. From
that the steps of runs under all smaller settings are replayed without the model, for this machine's
costs, those of another one, and batches.
"""

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from core.benchmark.named_configs import NamedConfig, configs_of_modes
from core.benchmark.options import add_question_options, questions_from_options
from core.benchmark.profile_report import (
    all_groups,
    check_table,
    curve_tables,
    curves_of,
    group_tables,
    making_table,
    maps_of,
    outlook_tables,
    outlooks,
    predictions_csv,
    report_of,
)
from core.benchmark.profile_runs import (
    Checked,
    MadeProfile,
    check,
    make_profiles,
    read_profiles,
    save_profiles,
)
from core.benchmark.question_sets import OWN as OWN_QUESTIONS
from core.benchmark.tables import markdown, print_tables
from core.command_line import (
    OneSentenceParser,
    add_run_options,
    all_settings,
    check_writable,
    flag_of,
    given_options,
    start_logging,
    told,
    words,
    write_text,
)
from core.config import MOST_TOGETHER
from core.errors import InvalidSettingError, SpecDecodesError, shown
from core.models.progress_bar import ProgressBar
from core.modes.settings import DrafterSettings
from core.profile.acceptance_scale import AS_MEASURED, MOST_FACTOR, AcceptanceScale
from core.profile.circumstance import Circumstance
from core.profile.saved_costs import OWN, named_costs, saved_from, shipped_names
from core.profile.side_by_side import Outlook
from core.runtime.console import INTERRUPTED, run_command
from core.runtime.imports import quick_imports
from core.runtime.strict_json import dumps
from core.trace.events import RunStarted
from core.trace.stamps import utc_now

if TYPE_CHECKING:
    from core.engine import Engine

_OWN_WORDS = "the machine of the profiles"


def main(arguments: list[str] | None = None) -> int:
    """Runs the command; returns its exit status, 2 for bad input."""
    options = _parser().parse_args(arguments)
    given = sys.argv[1:] if arguments is None else arguments
    try:
        start_logging()
        for path in (options.json, options.csv, options.html, options.markdown, options.save_costs):
            check_writable(path)
        circumstances = _circumstances(options)
        found = _work(options, circumstances)
        _write(options, given, found)
    except SpecDecodesError as error:
        return told(error)
    except KeyboardInterrupt:
        print("stopped; nothing is written", file=sys.stderr)
        return INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = OneSentenceParser(prog="core.benchmark.profile", description=__doc__)
    parser.add_argument(
        "--modes",
        type=words,
        help="modes; commas; settings as for core.benchmark.compare, which are the largest that "
        "predictions may have",
    )
    parser.add_argument(
        "--read", type=Path, metavar="DIR", help="read profiles instead of making them; no model"
    )
    parser.add_argument(
        "--traces", type=Path, metavar="DIR", help="write the profiles, a file a question and mode"
    )
    parser.add_argument(
        "--costs",
        action="append",
        metavar="C",
        help=f"what forwards cost: {OWN} (default) for the machine of the profiles, "
        f"{', '.join(shipped_names())}, a file, or a curve as 1:10,8:12,64:40 (rows:milliseconds); "
        "once for each",
    )
    parser.add_argument(
        "--sizes", type=words, default=("1",), help="sequences side by side; commas (default: 1)"
    )
    parser.add_argument(
        "--accept-scale",
        type=words,
        default=("1",),
        metavar="F",
        help="how much more often drafts are right; commas: below 1 a right one stays right with this "
        f"chance, above 1 a wrong one stays wrong with 1 / F; 0 to {MOST_FACTOR:g} (default: 1)",
    )
    parser.add_argument(
        "--check",
        action="store_true",
        default=None,
        help="also run the given settings and the best ones, --repeats times, and compare",
    )
    parser.add_argument(
        "--save-costs", type=Path, metavar="F", help="write this machine's costs for --costs"
    )
    parser.add_argument("--json", type=Path, metavar="F", help="write every figure to this file")
    parser.add_argument("--csv", type=Path, metavar="F", help="write a row a setting to this file")
    parser.add_argument("--html", type=Path, metavar="F", help="write a page with plots, offline")
    parser.add_argument("--markdown", type=Path, metavar="F", help="write the tables as Markdown")
    add_question_options(parser)
    add_run_options(parser, with_mode=False)
    return parser


def _circumstances(options: argparse.Namespace) -> list[Circumstance]:
    """All costs in all batches under all scales; raises InvalidSettingError."""
    found = []
    scales = [_scale(word) for word in options.accept_scale]
    for text in options.costs or [OWN]:
        saved = named_costs(text)
        name = _OWN_WORDS if saved is None else saved.name
        for word in options.sizes:
            if not word.isdecimal() or not 1 <= int(word) <= MOST_TOGETHER:
                raise InvalidSettingError(
                    f"sizes has {word!r}; give numbers from 1 to {MOST_TOGETHER}, with commas."
                )
            found += [Circumstance(name, saved, int(word), scale=scale) for scale in scales]
    if not found:
        raise InvalidSettingError(
            "sizes or accept-scale is empty; give numbers, separated by commas."
        )
    return found


def _scale(word: str) -> AcceptanceScale:
    try:
        return AcceptanceScale(float(word))
    except ValueError:
        raise InvalidSettingError(
            f"accept-scale has {shown(word)}; give numbers from 0 to {MOST_FACTOR:g}, with commas."
        ) from None


class _Found(NamedTuple):
    """All that the command tells."""

    made: list[MadeProfile]
    outlooks: list[Outlook]
    circumstances: list[Circumstance]
    checked: list[Checked]


def _work(options: argparse.Namespace, circumstances: list[Circumstance]) -> _Found:
    if options.read is not None:
        _check_read(options)
        made = read_profiles(options.read)
        return _Found(made, _drafting(made, circumstances), circumstances, [])
    if not options.modes:
        raise InvalidSettingError(
            "no modes are given; give --modes, or --read a folder of profiles."
        )
    if options.repeats > 1 and not options.check:
        raise InvalidSettingError(
            f"repeats is {options.repeats} and a profile is the same each time; leave it out, or give "
            "--check, whose real runs are repeated."
        )
    questions = questions_from_options(options)
    named = configs_of_modes(options, tuple(dict.fromkeys(options.modes)))
    engine = _engine(named)
    made = make_profiles(engine, questions, named)
    if options.traces is not None:
        save_profiles(options.traces, made)
    found = _drafting(made, circumstances)
    chosen = _chosen(found) if options.check else []
    checked = check(engine, questions, made, chosen, options.repeats)
    return _Found(made, found, circumstances, checked)


def _check_read(options: argparse.Namespace) -> None:
    """Raises InvalidSettingError for an option of profiles that are made."""
    given = given_options(options)
    unheeded = {"modes", "traces", "check", "limit", *all_settings()} & given.keys()
    defaults = {"questions": OWN_QUESTIONS, "categories": (), "repeats": 1}
    unheeded |= {name for name, value in defaults.items() if given[name] != value}
    for name in sorted(unheeded):
        raise InvalidSettingError(
            f"{flag_of(name)} is for profiles that are made and --read reads them; leave one out."
        )


def _drafting(made: Sequence[MadeProfile], circumstances: list[Circumstance]) -> list[Outlook]:
    """Raises InvalidSettingError where no mode drafts."""
    found = outlooks(made, circumstances)
    if not found:
        raise InvalidSettingError(
            "no mode of these drafts, so nothing is to be predicted; give one."
        )
    return found


def _engine(named: Sequence[NamedConfig]) -> "Engine":
    with quick_imports():
        from core.engine import Engine
        from core.loading.loading import load_target
    with ProgressBar(named[0].config.target) as bar:
        target = load_target(named[0].config, bar.show)
        return Engine(target, progress=bar.show, num_kept=len(named))


def _chosen(found: Sequence[Outlook]) -> list[tuple[str, DrafterSettings]]:
    """The given and the best settings of every mode on this machine, once each."""
    own = [
        item
        for item in found
        if item.circumstance.saved is None
        and item.circumstance.batch == 1
        and item.circumstance.scale == AS_MEASURED
    ]
    return list(
        dict.fromkeys(
            (item.label, choice.settings) for item in own for choice in (item.given, item.best)
        )
    )


def _write(options: argparse.Namespace, given: Sequence[str], found: _Found) -> None:
    """The tables on the terminal, and the files that were asked for."""
    run = found.made[0].trace.first(RunStarted)
    assert run is not None, "a profile has it"
    header = {
        "command": shlex.join(["python", "-m", "core.benchmark.profile", *given]),
        "finished_at": utc_now(),
        "device": run.device,
        "versions": run.versions,
        "target": run.target,
    }
    groups = all_groups(found.made, found.circumstances)
    curves = curves_of(found.made, found.circumstances)
    tables = [
        *making_table(found.made),
        *outlook_tables(found.outlooks),
        *curve_tables(curves),
        *group_tables(groups),
        *check_table(found.checked),
    ]
    print_tables(tables)
    if options.save_costs is not None:
        profiles = {item.label: item.profile for item in found.made}
        name = f"{run.target['name']} in {run.target['dtype']}, {run.device}"
        write_text(
            options.save_costs, dumps(saved_from(name, profiles, run.device), indent=1) + "\n"
        )
    if options.csv is not None:
        write_text(options.csv, predictions_csv(found.outlooks, groups))
    if options.markdown is not None:
        write_text(options.markdown, f"{markdown(tables)}\n")
    if options.json is None and options.html is None:
        return
    maps = maps_of(found.made, found.circumstances)
    report = report_of(header, found.made, found.outlooks, maps, groups, curves, found.checked)
    if options.json is not None:
        write_text(options.json, dumps(report, indent=1) + "\n")
    if options.html is not None:
        from visualize.report.lab import lab_html

        write_text(options.html, lab_html(report, tables))


if __name__ == "__main__":
    run_command(main)
