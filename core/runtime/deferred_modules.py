"""Modules whose import has only effects that nothing asks for yet: they wait until something does.

torch registers Python forms of its operators for tracing. They are a third of its import, and no
forward on numbers uses them; compilers, exporters and transformers do.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from types import ModuleType

# Each is imported by torch for what it registers; torch itself asks neither for anything.
DEFERRED = (
    "torch._meta_registrations", "torch.distributed._meta_registrations", "torch.export",
)  # fmt: skip
# Who computes on tensors without numbers.
USERS = (
    "accelerate", "hqq", "torch._dynamo", "torch._inductor", "torch.distributed.tensor",
    "transformers",
)  # fmt: skip


# This one is imported by them, and does what plain runs need: torch.Generator is not whole before.
_NEEDED = "torch._prims.rng_prims"


@contextmanager
def deferred() -> Iterator[None]:
    """Modules of torch that are imported in here wait, not those that are there already."""
    is_first = "torch" not in sys.modules
    if is_first:
        sys.meta_path.insert(0, _Finder())
    try:
        yield
    finally:
        if is_first and "torch" in sys.modules and find_spec(_NEEDED) is not None:
            import_module(_NEEDED)


class _Waiting(ModuleType):
    """Stands for a module until one of its names is asked for."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__"):  # who looks over all modules asks each for these
            raise AttributeError(name)
        _execute(self)
        return getattr(self, name)


def _execute(module: _Waiting) -> None:
    loader = module.__loader__
    assert isinstance(loader, _LateLoader), "it was found by us"
    module.__class__ = ModuleType  # type: ignore[assignment]  # its attributes are those of the module
    loader.actual.exec_module(module)


class _LateLoader(Loader):
    """Makes the module and executes nothing."""

    def __init__(self, actual: Loader):
        self.actual = actual

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Waiting(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        return


class _Finder:
    """Finds the deferred modules, and hears when one of their users is imported."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name in USERS:
            sys.meta_path.remove(self)
            for waiting in DEFERRED:
                module = sys.modules.get(waiting)
                if isinstance(module, _Waiting):
                    _execute(module)
            return None
        if name not in DEFERRED:
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _LateLoader(spec.loader)
        return spec
