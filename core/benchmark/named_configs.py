"""Configurations for several modes at once, each under the words that asked for it."""

import dataclasses
from argparse import Namespace
from collections.abc import Sequence
from typing import Any, NamedTuple, NoReturn

from core.command_line import OneSentenceParser, add_run_options, config_from_options
from core.config import RunConfig, lossy_rule
from core.drafter_settings import DRAFTER_SETTINGS, MODES
from core.errors import InvalidSettingError


class NamedConfig(NamedTuple):
    """A configuration under the words that asked for it: share-sd:bits=3."""

    label: str
    """Marked as lossy where its acceptance rule is."""
    config: RunConfig


def marked(words: str, config: RunConfig) -> str:
    """The words for a configuration, and what every figure of a lossy one has beside them."""
    rule = lossy_rule(config.to_dict())
    return f"{words}, lossy ({rule})" if rule else words


def configs_of_modes(options: Namespace, specs: Sequence[str]) -> list[NamedConfig]:
    """A configuration for each of the modes, in which it has those drafter settings that it knows.

    A mode may have settings of its own behind it: `share-sd:bits=3:fixed-size`. Raises
    InvalidSettingError for an unknown mode or setting, and for an option that no mode knows.
    """
    parsed = {spec: _parsed(spec) for spec in specs}
    modes = [mode for mode, _ in parsed.values()]
    known = {mode: _setting_names(mode) for mode in MODES}
    every = set().union(*known.values())
    given = {name: value for name, value in vars(options).items() if value is not None}
    for name in sorted(every & given.keys()):
        if not any(name in known[mode] for mode in modes):
            flag = "--" + name.replace("_", "-")
            raise InvalidSettingError(
                f"{flag} is a setting of none of the modes {', '.join(modes)}; leave it out."
            )
    named = []
    for spec, (mode, own) in parsed.items():
        shared = {name: given[name] for name in given.keys() - (every - known[mode])}
        config = config_from_options(Namespace(**shared | own), mode)
        named.append(NamedConfig(marked(spec, config), config))
    return named


class _SpecParser(OneSentenceParser):
    def error(self, message: str) -> NoReturn:
        raise InvalidSettingError(
            f"{self.prog} cannot be read ({message}); give MODE:name=value with the names of the "
            "options, such as share-sd:bits=3:group-size=32."
        )


def _parsed(spec: str) -> tuple[str, dict[str, Any]]:
    """Mode and own settings of `mode:name=value:flag`; raises InvalidSettingError."""
    mode, *parts = spec.split(":")
    if mode not in MODES:
        raise InvalidSettingError(f"mode is {mode!r}; give some of {', '.join(MODES)}.")
    parser = _SpecParser(prog=spec, add_help=False, allow_abbrev=False)
    add_run_options(parser, with_mode=False)
    own = parser.parse_args([f"--{part}" for part in parts])
    return mode, {name: value for name, value in vars(own).items() if value is not None}


def _setting_names(mode: str) -> set[str]:
    settings_class = DRAFTER_SETTINGS[mode]
    return {item.name for item in dataclasses.fields(settings_class)} if settings_class else set()
