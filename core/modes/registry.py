"""The modes: which drafters there are, their settings, and who makes them.

A file in this folder describes a built-in mode as data, so that settings are known before torch is
imported. A package of somebody else registers a drafter the same way: it names a module under the
entry-point group `specdecodes.drafters`, and the module calls `register_drafter`.
"""

import importlib
import logging
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Any, TypeVar, get_type_hints

import core.modes
from core.errors import InvalidSettingError
from core.modes.settings import DrafterSettings

ENTRY_POINTS = "specdecodes.drafters"
# In which order groups are shown.
GROUPS = ("plain", "lookup", "draft model", "head", "self", "combined", "server", "other")
# Modules here that describe no mode.
_MACHINERY = ("registry", "settings")

log = logging.getLogger(__name__)
FactoryT = TypeVar("FactoryT", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Mode:
    """A way of decoding, under the name that `--mode` takes."""

    name: str
    group: str
    """One of GROUPS: what kind of drafter it is."""
    settings: type[DrafterSettings] | None = None
    """None for a mode that has none of its own."""
    factory: Callable[..., Any] | str | None = None
    """Takes a `core.drafters.context.DrafterContext` and returns a `core.drafters.base.Drafter`:
    the function, or its place as "module:name". None for plain decoding, and where a server decodes."""
    takes_draft: bool = False
    """Whether the name of a draft model or head means something to it."""
    needs_own_forward: bool | Callable[[str | None], bool] = False
    """Whether it drafts with layers or states of the target that transformers' module keeps to
    itself; told the name of the draft model where it hangs on that."""
    reason_against: Callable[..., str | None] | str | None = None
    """Takes the name of the draft model and the loaded target, and says in a sentence why the two
    cannot run; None, or a result of None, where they can."""

    def needs_own(self, draft: str | None) -> bool:
        """`needs_own_forward` with a draft model."""
        needs = self.needs_own_forward
        return needs if isinstance(needs, bool) else needs(draft)

    def refusal(self, draft: str | None, target: Any) -> str | None:
        """What `reason_against` says."""
        check = resolved(self.reason_against)
        reason: str | None = None if check is None else check(draft, target)
        return reason

    is_elsewhere: bool = False
    """Whether a server decodes: what concerns our own forward and rules then means nothing."""


_registered: dict[str, Mode] = {}


def register(mode: Mode) -> None:
    """Adds a mode; raises InvalidSettingError for a name that is taken or no name, and for a
    setting that another mode has with values of another kind."""
    if not mode.name or not mode.name.replace("-", "").replace("_", "").isalnum():
        raise InvalidSettingError(
            f"a mode is to be named {mode.name!r}; give letters, digits and hyphens."
        )
    if mode.name in _registered:
        raise InvalidSettingError(
            f"a mode is named {mode.name} already; give the drafter another name."
        )
    if mode.group not in GROUPS:
        raise InvalidSettingError(
            f"the group of mode {mode.name} is {mode.group!r}; give one of {', '.join(GROUPS)}."
        )
    for other in _registered.values():
        mine, theirs = _kinds(mode), _kinds(other)
        for name in mine.keys() & theirs.keys():
            if mine[name] != theirs[name]:
                raise InvalidSettingError(
                    f"{name} of mode {mode.name} is of another kind than that of mode "
                    f"{other.name}; give the setting another name."
                )
    _registered[mode.name] = mode


def register_drafter(
    name: str,
    *,
    settings: type[DrafterSettings] | None = None,
    group: str = "other",
    takes_draft: bool = False,
    needs_own_forward: bool = False,
) -> Callable[[FactoryT], FactoryT]:
    """Registers the decorated factory as the drafter of a mode; see `Mode` and `register`."""

    def decorate(factory: FactoryT) -> FactoryT:
        register(Mode(name, group, settings, factory, takes_draft, needs_own_forward))
        return factory

    return decorate


def _kinds(mode: Mode) -> dict[str, Any]:
    return {} if mode.settings is None else get_type_hints(mode.settings)


@cache
def modes() -> Mapping[str, Mode]:
    """All modes by name, those of installed packages as well, in the order in which they are shown: of
    their groups, and of their names in each.

    A package that cannot be loaded is left out and told in the log.
    """
    for found in pkgutil.iter_modules(core.modes.__path__):
        if found.name not in _MACHINERY:
            importlib.import_module(f"{core.modes.__name__}.{found.name}")
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            entry.load()
        except Exception as error:  # code of others raises whatever comes
            log.warning("the drafter %s cannot be loaded (%s) and is left out.", entry.name, error)
    order = sorted(_registered.values(), key=lambda mode: (GROUPS.index(mode.group), mode.name))
    return {mode.name: mode for mode in order}


def mode_names() -> tuple[str, ...]:
    """What `--mode` takes."""
    return tuple(modes())


def settings_class(mode: str) -> type[DrafterSettings] | None:
    """The class of a known mode's own settings; None for a mode without any."""
    return modes()[mode].settings


def resolved(reference: Any) -> Any:
    """A function given as such, or by its place as "module:name"."""
    if not isinstance(reference, str):
        return reference
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)
