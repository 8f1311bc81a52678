"""Configurations for several modes at once, each under the words that asked for it."""

from argparse import Namespace
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from core.acceptance.registry import lossy_rule
from core.command_line import (
    OneSentenceParser,
    add_run_options,
    all_settings,
    config_from_options,
    flag_of,
    given_options,
)
from core.config import RunConfig, settings_of
from core.errors import InvalidSettingError
from core.modes.registry import mode_names


class NamedConfig(NamedTuple):
    """A configuration under the words that asked for it: share-sd:bits=3."""

    label: str
    """Marked as lossy where its acceptance rule is."""
    config: RunConfig


def marked(words: str, config: RunConfig) -> str:
    """The words for a configuration, and what every figure of a lossy one has beside them."""
    rule = lossy_rule(config.to_dict())
    return f"{words}, lossy ({rule})" if rule else words


def configs_of_modes(
    options: Namespace, specs: Sequence[str], heeded_elsewhere: Collection[str] = ()
) -> list[NamedConfig]:
    """A configuration for each of the modes, in which it has those settings that it heeds.

    A mode may have settings of its own behind it: `share-sd:bits=3:fixed-size`. Raises
    InvalidSettingError for an unknown mode or setting, and for an option that neither a mode nor
    anything else heeds.
    """
    parsed = {spec: _parsed(spec) for spec in specs}
    modes = [mode for mode, _ in parsed.values()]
    given = given_options(options)
    for name in sorted(all_settings() & given.keys() - set(heeded_elsewhere)):
        if not any(name in settings_of(mode) for mode in modes):
            raise InvalidSettingError(
                f"{flag_of(name)} is no setting of the modes {', '.join(modes)}; leave it out."
            )
    named = []
    for spec, (mode, own) in parsed.items():
        heeded = _heeded(given, mode, own)
        if isinstance(getattr(heeded, "memory", None), Path):
            raise InvalidSettingError(
                "memory has a file, and here each mode begins with none and remembers its own answers; "
                "leave the file out."
            )
        config = config_from_options(heeded, mode)
        named.append(NamedConfig(marked(spec, config), config))
    return named


def _heeded(given: dict[str, Any], mode: str, own: dict[str, Any]) -> Namespace:
    """What a mode heeds of the options for all, and its own, which are checked."""
    heeded = settings_of(mode)
    return Namespace(**{name: given[name] for name in given.keys() & heeded} | own)


class _SpecParser(OneSentenceParser):
    def error(self, message: str) -> NoReturn:
        raise InvalidSettingError(
            f"{self.prog} cannot be read ({message}); give MODE:name=value with the names of the "
            "options, such as share-sd:bits=3:group-size=32."
        )


def _parsed(spec: str) -> tuple[str, dict[str, Any]]:
    """Mode and own settings of `mode:name=value:flag`; raises InvalidSettingError."""
    mode, *parts = spec.split(":")
    if mode not in mode_names():
        raise InvalidSettingError(f"mode is {mode!r}; give some of {', '.join(mode_names())}.")
    parser = _SpecParser(prog=spec, add_help=False, allow_abbrev=False)
    add_run_options(parser, with_mode=False)
    own = parser.parse_args([f"--{part}" for part in parts])
    return mode, {name: value for name, value in vars(own).items() if value is not None}
