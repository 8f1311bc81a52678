"""Command-line options made from the settings classes, and the way errors are told there."""

import argparse
import dataclasses
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from core.config import DTYPES, WEIGHTS, RunConfig, SamplingConfig, lossy_rule
from core.drafter_settings import DRAFTER_SETTINGS, MODES
from core.errors import InvalidSettingError, StorageError
from core.settings import Settings, build

_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


class OneSentenceParser(argparse.ArgumentParser):
    """Tells bad input in one sentence on stderr and exits with 2."""

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; see --help.", file=sys.stderr)
        raise SystemExit(2)


def add_run_options(parser: argparse.ArgumentParser, *, with_mode: bool = True) -> None:
    """Adds an option for every setting of a run; unset options keep the settings' defaults."""
    if with_mode:
        parser.add_argument("--mode", choices=MODES, help=_help(RunConfig, "mode"))
    parser.add_argument("--target", help=_help(RunConfig, "target"))
    parser.add_argument("--draft", help=_help(RunConfig, "draft"))
    parser.add_argument("--dtype", choices=DTYPES, help=_help(RunConfig, "dtype"))
    parser.add_argument("--device", choices=("cpu", "cuda"), help=_help(RunConfig, "device"))
    parser.add_argument("--weights", choices=WEIGHTS, help=_help(RunConfig, "weights"))
    for name in (
        "gpu_memory", "spread", "max_new_tokens", "accept", "draft_failure", "compile", "invariant",
        "trace_top_k",
    ):  # fmt: skip
        _add_option(parser, RunConfig, name)
    for item in dataclasses.fields(SamplingConfig):
        _add_option(parser, SamplingConfig, item.name)
    group = parser.add_argument_group("drafter settings, each for the modes that know it")
    known: set[str] = set()
    for settings_class in DRAFTER_SETTINGS.values():
        for item in dataclasses.fields(settings_class) if settings_class else ():
            if item.name not in known:
                known.add(item.name)
                _add_option(group, settings_class, item.name)


def _field(settings_class: Any, name: str) -> dataclasses.Field[Any]:
    return next(item for item in dataclasses.fields(settings_class) if item.name == name)


def _help(settings_class: type[Settings], name: str) -> str:
    return str(_field(settings_class, name).metadata["help"])


def _add_option(group: Any, settings_class: Any, name: str) -> None:
    item = _field(settings_class, name)
    flags = ["--" + flag.replace("_", "-") for flag in item.metadata["flags"] or (name,)]
    default = "" if item.default is None else f" (default: {item.default})"
    hint = get_type_hints(settings_class)[name]
    if bool in (hint, *get_args(hint)):
        # What may be unset can also be switched off.
        action = "store_true" if hint is bool else argparse.BooleanOptionalAction
        group.add_argument(
            *flags, dest=name, action=action, default=None, help=item.metadata["help"]
        )
    elif get_origin(hint) is tuple:
        group.add_argument(*flags, dest=name, type=words, help=f"{item.metadata['help']}; commas")
    else:
        help_text = item.metadata["help"] + default
        group.add_argument(*flags, dest=name, type=_kind(hint), help=help_text)


def _kind(hint: Any) -> Any:
    """What reads the text of an option; the settings class checks the value."""
    choices = get_args(hint)
    is_int = hint is int or (choices and all(type(choice) is int for choice in choices))
    return int if is_int else float if hint is float else str


def words(text: str) -> tuple[str, ...]:
    """The parts of a list with commas."""
    return tuple(word.strip() for word in text.split(",") if word.strip())


def config_from_options(options: argparse.Namespace, mode: str | None = None) -> RunConfig:
    """The checked configuration; raises InvalidSettingError, also for a setting of other modes."""
    given = {name: value for name, value in vars(options).items() if value is not None}
    mode = mode or given.get("mode", "naive")
    settings_class = DRAFTER_SETTINGS.get(mode)
    sampling = {
        item.name: given[item.name]
        for item in dataclasses.fields(SamplingConfig)
        if item.name in given
    }
    own = {item.name for item in dataclasses.fields(settings_class)} if settings_class else set()
    drafter = {name: given[name] for name in own if name in given}
    for other_class in DRAFTER_SETTINGS.values():
        for item in dataclasses.fields(other_class) if other_class else ():
            if item.name in given and item.name not in own:
                flag = "--" + item.name.replace("_", "-")
                allowed = ", ".join(sorted(own)).replace("_", "-") or "none"
                raise InvalidSettingError(
                    f"{flag} is no setting of mode {mode}; it knows {allowed}."
                )
    run_names = {item.name for item in dataclasses.fields(RunConfig)} - {"sampling", "drafter"}
    run = {name: given[name] for name in run_names if name in given}
    return build(
        RunConfig,
        {
            **run,
            "mode": mode,
            "sampling": build(SamplingConfig, sampling),
            "drafter": build(settings_class, drafter) if settings_class else None,
        },
    )


def start_logging(formatter: logging.Formatter | None = None) -> None:
    """Logs to stderr from the level that `LOGLEVEL` names; raises InvalidSettingError.

    Without a formatter the lines are plain text.
    """
    name = os.environ.get("LOGLEVEL", "WARNING")
    levels = logging.getLevelNamesMapping()
    if name.upper() not in levels:
        raise InvalidSettingError(f"LOGLEVEL is {name!r}; give one of {', '.join(levels)}.")
    # Torch reads it too, knows capitals alone, and fails to load for anything else.
    os.environ["LOGLEVEL"] = name.upper()
    handler = logging.StreamHandler()
    handler.setFormatter(formatter or logging.Formatter(_LOG_FORMAT))
    logging.basicConfig(level=name.upper(), handlers=[handler])


def tell_notes(target_note: str, config: RunConfig) -> None:
    """Says on stderr what whoever reads an answer has to know of its target and its rule."""
    if target_note:
        print(target_note, file=sys.stderr)
    rule = lossy_rule(config.to_dict())
    if rule:
        print(
            f"--accept {rule} is lossy: the text is not distributed as the target's own; give "
            "match or rejection for one that is.",
            file=sys.stderr,
        )


@contextmanager
def told_if_not_written(path: Path) -> Iterator[None]:
    """Raises StorageError with one sentence where the disk does not take a file."""
    try:
        yield
    except OSError as error:
        raise StorageError(
            f"{path} cannot be written ({error.strerror or error}); make room or give another file."
        ) from error


def check_writable(path: Path | None) -> None:
    """Raises InvalidSettingError where a file cannot be written; nothing is written yet."""
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise InvalidSettingError(f"{path} cannot be written; give a file in an existing folder.")
