"""All families, by the model types of their configurations."""

from importlib import import_module
from pkgutil import iter_modules

import core.families
from core.families.family import Family

_TABLES = ("architecture", "description", "family", "gguf", "mtp", "registry", "tensors")


def _found() -> dict[str, Family]:
    names = [name for _, name, _ in iter_modules(core.families.__path__) if name not in _TABLES]
    families = [import_module(f"core.families.{name}").FAMILY for name in names]
    return {family.model_type: family for family in families}


FAMILIES = _found()
