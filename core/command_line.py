"""Command-line options made from the settings classes, and the way errors are told there."""

import argparse
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, NoReturn, get_args, get_origin, get_type_hints

from core import __version__
from core.acceptance.registry import lossy_rule
from core.config import DTYPES, WEIGHTS, RunConfig, SamplingConfig, settings_of
from core.errors import InvalidSettingError, SpecDecodesError, StorageError
from core.modes.registry import mode_names, modes
from core.modes.server import MODE as SERVER_MODE
from core.modes.server import is_address
from core.modes.settings import MEMORY_HELP
from core.settings import Settings, build, unescaped

_LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


def called_as(name: str) -> str:
    """How a command was called: by the name of its installed script, else by this one."""
    script = Path(sys.argv[0]).stem
    return script if script.startswith("specdecodes") else name


class OneSentenceParser(argparse.ArgumentParser):
    """Tells bad input in one sentence on stderr and exits with 2."""

    def __init__(self, prog: str, **given: Any):
        """See `called_as` for `prog`."""
        super().__init__(prog=called_as(prog), **given)
        if self.add_help:
            version = f"SpecDecodes {__version__}"
            self.add_argument("--version", action="version", version=version)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, with every argument checked to be text."""
        given = sys.argv[1:] if args is None else list(args)
        try:
            words = [_whole(word, place) for place, word in enumerate(given, start=1)]
        except InvalidSettingError as error:
            self.error(str(error))
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}; see --help.", file=sys.stderr)
        raise SystemExit(2)


def _whole(word: str, place: int) -> str:
    """An argument as text, read as UTF-8 where the system's encoding could not."""
    try:
        word.encode("utf-8")
        return word
    except UnicodeEncodeError:
        pass
    try:
        return os.fsencode(word).decode("utf-8")
    except UnicodeError:
        raise InvalidSettingError(f"argument {place} is not UTF-8 text: {word!a}") from None


def add_run_options(parser: argparse.ArgumentParser, *, with_mode: bool = True) -> None:
    """Adds an option for every setting of a run; unset options keep the settings' defaults."""
    if with_mode:
        parser.add_argument("--mode", choices=mode_names(), help=_help(RunConfig, "mode"))
    parser.add_argument("--target", help=_help(RunConfig, "target"))
    parser.add_argument("--draft", help=_help(RunConfig, "draft"))
    parser.add_argument("--dtype", choices=DTYPES, help=_help(RunConfig, "dtype"))
    parser.add_argument("--device", choices=("cpu", "cuda"), help=_help(RunConfig, "device"))
    parser.add_argument("--weights", choices=WEIGHTS, help=_help(RunConfig, "weights"))
    for name in (
        "gpu_memory", "tensor_parallel", "spread", "max_new_tokens", "stop", "accept", "draft_failure",
        "compile", "invariant", "trace_top_k",
    ):  # fmt: skip
        _add_option(parser, RunConfig, name)
    for item in fields(SamplingConfig):
        _add_option(parser, SamplingConfig, item.name)
    group = parser.add_argument_group("drafter settings, each for the modes that know it")
    group.add_argument(
        "--memory",
        nargs="?",
        const=True,
        type=Path,
        metavar="F",
        help=f"{MEMORY_HELP}; with a file, those of earlier commands too",
    )
    known = {"memory"}
    for mode in modes().values():
        for item in fields(mode.settings) if mode.settings else ():
            if item.name not in known:
                known.add(item.name)
                _add_option(group, mode.settings, item.name)


def _field(settings_class: Any, name: str) -> Field[Any]:
    return next(item for item in fields(settings_class) if item.name == name)


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
    elif item.metadata["is_verbatim"]:
        group.add_argument(
            *flags, dest=name, type=unescaped, action="append", metavar="TEXT",
            help=f"{item.metadata['help']}; give it again for more; \\n is a line end",
        )  # fmt: skip
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
    given = given_options(options)
    if "memory" in given:  # which file it is in decides nothing
        given["memory"] = True
    mode = mode or given.get("mode") or _mode_of(given.get("target", ""))
    heeded = settings_of(mode)
    for name in given:
        if name in all_settings() and name not in heeded:
            own = (
                ", ".join(map(flag_of, sorted(heeded - settings_of("naive")))) or "none of its own"
            )
            raise InvalidSettingError(
                f"{flag_of(name)} is no setting of mode {mode}, which has {own}; leave it out."
            )
    if given.get("accept", "match") != "match" and not {"temperature", "do_sample"} & given.keys():
        raise InvalidSettingError(
            "--accept is no setting without --temp, for a greedy run has one rule; give that too, or "
            "leave it out."
        )
    settings_class = modes()[mode].settings

    def part(cls: Any) -> dict[str, Any]:
        return {item.name: given[item.name] for item in fields(cls) if item.name in given}

    return build(
        RunConfig,
        {
            **part(RunConfig),
            "mode": mode,
            "sampling": build(SamplingConfig, part(SamplingConfig)),
            "drafter": build(settings_class, part(settings_class)) if settings_class else None,
        },
    )


def _mode_of(target: str) -> str:
    """The mode that a command takes where none is given."""
    return SERVER_MODE if is_address(target) else "naive"


def all_settings() -> frozenset[str]:
    """Names of the settings that any mode heeds."""
    return frozenset().union(*map(settings_of, mode_names()))


def given_options(options: argparse.Namespace) -> dict[str, Any]:
    """The options that were given, by the names of their settings."""
    return {name: value for name, value in vars(options).items() if value is not None}


def flag_of(name: str) -> str:
    """How a setting or option is written on the command line."""
    return "--" + name.replace("_", "-")


def check_needed(options: argparse.Namespace, name: str, needed: str) -> None:
    """Raises InvalidSettingError for an option that does nothing without another one."""
    given = given_options(options)
    if name in given and not given.get(needed):
        raise InvalidSettingError(
            f"{flag_of(name)} is no setting without {flag_of(needed)}; give that too, or leave it "
            "out."
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


def tell_notes(target: Any, config: RunConfig, host_reason: str = "") -> None:
    """Says on stderr what whoever reads an answer has to know of its target, its number format and its
    rule, and why the host decides its steps."""
    for note in (target.note, target.rounding_note(config), host_reason):
        if note:
            print(note, file=sys.stderr)
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


def write_text(path: Path, text: str) -> None:
    """Writes a file in UTF-8; raises StorageError where the disk does not take it."""
    with told_if_not_written(path):
        path.write_text(text, encoding="utf-8")


def told(error: SpecDecodesError) -> int:
    """Says what ends a command; returns its exit status: 1 for what the disk does not take, 2 for bad
    input."""
    print(error, file=sys.stderr)
    return 1 if isinstance(error, StorageError) else 2


def check_writable(path: Path | None) -> None:
    """Raises InvalidSettingError where a file cannot be written; nothing is written yet."""
    if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
        raise InvalidSettingError(f"{path} cannot be written; give a file in an existing folder.")
