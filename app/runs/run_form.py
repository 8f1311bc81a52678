"""The settings of a run as a form: which fields there are, and the way back to a RunConfig.

Everything is read from the settings classes, so that a new mode or setting needs no line here.
"""

import dataclasses
import types
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

from core.config import DEFAULT_TARGET, RunConfig, SamplingConfig, settings_of
from core.errors import InvalidSettingError
from core.modes.registry import modes, settings_class
from core.modes.settings import SELF, SHIPPED_HEAD
from core.settings import Settings, escaped, unescaped

FieldKind = Literal["bool", "int", "float", "choice", "text", "words", "lines"]

_RUN_FIELDS = (
    "target", "draft", "weights", "dtype", "compile", "max_new_tokens", "stop", "accept",
    "draft_failure",
)  # fmt: skip
# The temperature says whether tokens are drawn, so that the page needs no `do_sample` besides it.
_SAMPLING_FIELDS = tuple(
    item.name for item in dataclasses.fields(SamplingConfig) if item.name != "do_sample"
)
# Where the name of a setting, made of its field's, would not be the word of this field.
_LABELS = {
    "draft": "Draft model",
    "dtype": "Number format",
    "compile": "Compiled kernels",
    "accept": "Acceptance rule",
    "draft_failure": "If the drafter breaks",
    "num_nodes": "Draft tokens",
    "top_k": "Top-k",
    "top_p": "Top-p",
    "min_p": "Min-p",
    "stop": "Stop strings",
    "min_new_tokens": "Fewest new tokens",
    "ignore_eos": "Ban the end",
    "min_match": "Shortest match",
    "num_layers": "Number of layers",
}
# A switch that may also be left to the program.
_SWITCH = {"": None, "on": True, "off": False}
_NO_DRAFT_HELP = "Plain decoding, one token a step: what the other modes are measured against."
_SERVER_HELP = "The target is a server, named by its address, which decodes as it was started."


class FormField(NamedTuple):
    """One control: its key in the form's values, what it says, and what it allows."""

    key: str
    label: str
    help: str
    kind: FieldKind
    default: Any
    choices: tuple[Any, ...] = ()


def run_fields() -> list[FormField]:
    """Fields of every run, drafter settings apart."""
    fields = [_field(RunConfig, name, name) for name in _RUN_FIELDS]
    return fields + [_field(SamplingConfig, name, name) for name in _SAMPLING_FIELDS]


def mode_fields(mode: str) -> list[FormField]:
    """Fields of a mode's own settings; their keys begin with the mode."""
    cls = settings_class(mode)
    if cls is None:
        return []
    return [_field(cls, item.name, f"{mode}.{item.name}") for item in dataclasses.fields(cls)]


def unheeded_fields(mode: str, draft: Any, target: Any) -> frozenset[str]:
    """Keys of the mode's own fields that are without effect beside this draft model."""
    cls = settings_class(mode)
    if cls is None:
        return frozenset()
    # Of the default target a head is shipped, which drafts where nothing else is named.
    unset = SHIPPED_HEAD if str(target or DEFAULT_TARGET).strip() == DEFAULT_TARGET else SELF
    try:
        names = cls.unheeded(str(draft or "").strip() or unset)
    except InvalidSettingError:  # the run itself is refused with that sentence
        return frozenset()
    return frozenset(f"{mode}.{name}" for name in names)


def mode_help(mode: str) -> str:
    """One sentence on a mode: the first line of its settings' docstring."""
    cls = settings_class(mode)
    if cls is None:
        return _SERVER_HELP if modes()[mode].is_elsewhere else _NO_DRAFT_HELP
    return (cls.__doc__ or "").strip().splitlines()[0]


def config_from_values(values: dict[str, Any]) -> RunConfig:
    """The checked configuration; raises InvalidSettingError with one sentence."""
    mode = values["mode"]
    is_known = isinstance(mode, str) and mode in modes()
    cls = settings_class(mode) if is_known else None
    hidden = unheeded_fields(mode, values["draft"], values["target"]) if is_known else ()
    drafter = {
        item.name: _parsed(values[key], cls, item.name)
        for item in (dataclasses.fields(cls) if cls else ())
        if (key := f"{mode}.{item.name}") not in hidden
    }
    # What the mode does not heed stands on the page, and keeps its value for the next mode.
    heeded = settings_of(mode) if is_known else _RUN_FIELDS
    run = {name: _parsed(values[name], RunConfig, name) for name in _RUN_FIELDS if name in heeded}
    run["target"] = run["target"] or RunConfig().target
    heeded_sampling = [name for name in _SAMPLING_FIELDS if not is_known or name in heeded]
    sampling = {name: _parsed(values[name], SamplingConfig, name) for name in heeded_sampling}
    return RunConfig.from_dict({"mode": mode, **run, "sampling": sampling, "drafter": drafter})


def values_from_config(config: RunConfig) -> dict[str, Any]:
    """The form's values for a configuration; `config_from_values` inverts it."""
    values: dict[str, Any] = {"mode": config.mode}
    for name in _RUN_FIELDS:
        values[name] = _shown(getattr(config, name), RunConfig, name)
    for name in _SAMPLING_FIELDS:
        values[name] = _shown(getattr(config.sampling, name), SamplingConfig, name)
    for mode in modes():
        values |= {field.key: field.default for field in mode_fields(mode)}
    if config.drafter is not None:
        for item in dataclasses.fields(config.drafter):
            value = getattr(config.drafter, item.name)
            values[f"{config.mode}.{item.name}"] = _shown(value, type(config.drafter), item.name)
    return values


def changed_settings(config: RunConfig) -> str:
    """What differs from the defaults of the mode, in a few words."""
    plain = values_from_config(RunConfig(mode=config.mode, target=config.target))
    names = {field.key: field.label.lower() for field in [*run_fields(), *mode_fields(config.mode)]}
    values = values_from_config(config)
    changed = [key for key in names if values[key] != plain[key]]
    return ", ".join(f"{names[key]} {values[key]}" for key in changed).replace("\n", " and ")


def _field(cls: type[Settings], name: str, key: str) -> FormField:
    metadata = _metadata(cls, name)
    kind = _kind_of(cls, name)
    help_text = metadata["help"]
    own_lines = "; one a line, with \\n for a line end" if kind == "lines" else ""
    return FormField(
        key,
        _LABELS.get(name, name.replace("_", " ").capitalize()),
        help_text[:1].upper() + help_text[1:] + _limits(metadata) + own_lines,
        kind,
        _shown(getattr(cls(), name), cls, name),
        _choices(cls, name) if kind == "choice" else (),
    )


def _metadata(cls: type[Settings], name: str) -> Any:
    """What `core.settings.setting` says of a setting."""
    return next(item.metadata for item in dataclasses.fields(cls) if item.name == name)  # type: ignore[arg-type]


def _limits(metadata: Any) -> str:
    """The limits in brackets, where they tell something that the name does not."""
    low, high = metadata["low"], metadata["high"]
    if low is None or high is None or high >= 10**6 or high <= 1:
        return ""
    return f" ({low:g} to {high:g})"


def _alternatives(cls: type[Settings], name: str) -> tuple[Any, ...]:
    hint = get_type_hints(cls)[name]
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _listed(cls: type[Settings], name: str) -> tuple[str, ...]:
    """The texts that a setting lists itself."""
    return tuple(_metadata(cls, name)["choices"]())


def _is_verbatim(cls: type[Settings], name: str) -> bool:
    return bool(_metadata(cls, name)["is_verbatim"])


def _is_switch(cls: type[Settings], name: str) -> bool:
    return {bool, type(None)} == set(_alternatives(cls, name))


def _kind_of(cls: type[Settings], name: str) -> FieldKind:
    options = _alternatives(cls, name)
    if _is_verbatim(cls, name):
        return "lines"
    if (
        _is_switch(cls, name)
        or _listed(cls, name)
        or any(get_origin(option) is Literal for option in options)
    ):
        return "choice"
    if any(get_origin(option) is tuple for option in options):
        return "words"
    kinds: dict[Any, FieldKind] = {bool: "bool", int: "int", float: "float"}
    return next((kinds[option] for option in options if option in kinds), "text")


def _choices(cls: type[Settings], name: str) -> tuple[Any, ...]:
    """Allowed values; the empty word stands for "unset" where that is allowed."""
    if _is_switch(cls, name):
        return tuple(_SWITCH)
    if _listed(cls, name):
        return _listed(cls, name)
    options = _alternatives(cls, name)
    values = [value for o in options if get_origin(o) is Literal for value in get_args(o)]
    return ("",) * (type(None) in options) + tuple(values)


def _shown(value: Any, cls: type[Settings], name: str) -> Any:
    """A setting as its control shows it; `_parsed` inverts it."""
    if _is_verbatim(cls, name):
        return "\n".join(map(escaped, value))
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    if _is_switch(cls, name):
        return next(word for word, meaning in _SWITCH.items() if meaning is value)
    return "" if value is None and _kind_of(cls, name) == "choice" else value


def _parsed(value: Any, cls: type[Settings] | None, name: str) -> Any:
    """Empty texts mean "unset"; the settings class checks all the rest."""
    assert cls is not None
    if _is_switch(cls, name):
        return _SWITCH.get(value, value) if isinstance(value, str) else value
    if _is_verbatim(cls, name) and isinstance(value or "", str):
        return tuple(unescaped(line) for line in (value or "").split("\n") if line)
    if _kind_of(cls, name) == "words" and isinstance(value or "", str):
        return tuple(word.strip() for word in (value or "").split(",") if word.strip())
    return (value.strip() or None) if isinstance(value, str) else value
