"""The engine as a library, which docs/api.md leads through: everything in `__all__` is public.

A name is imported when it is first asked for: traces open without torch, and importing is quick.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:  # for tools that read the source; a test holds it equal to the table
    from core.config import RunConfig as RunConfig
    from core.config import SamplingConfig as SamplingConfig
    from core.drafter_settings import ClassicSettings as ClassicSettings
    from core.drafter_settings import DrafterSettings as DrafterSettings
    from core.drafter_settings import EagleSettings as EagleSettings
    from core.drafter_settings import HybridSettings as HybridSettings
    from core.drafter_settings import LayerSkipSettings as LayerSkipSettings
    from core.drafter_settings import NgramSettings as NgramSettings
    from core.drafter_settings import ShareSdSettings as ShareSdSettings
    from core.drafter_settings import TreeSettings as TreeSettings
    from core.engine import Engine as Engine
    from core.errors import BadLogitsError as BadLogitsError
    from core.errors import DrafterUnavailableError as DrafterUnavailableError
    from core.errors import InvalidSettingError as InvalidSettingError
    from core.errors import KernelsUnavailableError as KernelsUnavailableError
    from core.errors import ModelUnavailableError as ModelUnavailableError
    from core.errors import SpecDecodesError as SpecDecodesError
    from core.errors import StorageError as StorageError
    from core.errors import TraceFormatError as TraceFormatError
    from core.events import Accepted as Accepted
    from core.events import Committed as Committed
    from core.events import Drafted as Drafted
    from core.events import DrafterFailed as DrafterFailed
    from core.events import Event as Event
    from core.events import Prefilled as Prefilled
    from core.events import RunFailed as RunFailed
    from core.events import RunFinished as RunFinished
    from core.events import RunStarted as RunStarted
    from core.events import TokenTexts as TokenTexts
    from core.events import Verified as Verified
    from core.models.loading import LoadedModel as LoadedModel
    from core.models.loading import load_target as load_target
    from core.run_start import Prompt as Prompt
    from core.stats import RunStats as RunStats
    from core.trace import Trace as Trace
    from core.trace import load_trace as load_trace
    from core.trace import read_trace as read_trace
    from core.trace import save_trace as save_trace
    from core.trace import write_trace as write_trace

_NAMES_OF = {
    "core.config": ("RunConfig", "SamplingConfig"),
    "core.drafter_settings": (
        "ClassicSettings", "DrafterSettings", "EagleSettings", "HybridSettings",
        "LayerSkipSettings", "NgramSettings", "ShareSdSettings", "TreeSettings",
    ),
    "core.engine": ("Engine",),
    "core.errors": (
        "BadLogitsError", "DrafterUnavailableError", "InvalidSettingError",
        "KernelsUnavailableError", "ModelUnavailableError", "SpecDecodesError", "StorageError",
        "TraceFormatError",
    ),
    "core.events": (
        "Accepted", "Committed", "Drafted", "DrafterFailed", "Event", "Prefilled", "RunFailed",
        "RunFinished", "RunStarted", "TokenTexts", "Verified",
    ),
    "core.models.loading": ("LoadedModel", "load_target"),
    "core.run_start": ("Prompt",),
    "core.stats": ("RunStats",),
    "core.trace": ("Trace", "load_trace", "read_trace", "save_trace", "write_trace"),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _NAMES_OF.items() for name in names}

__all__ = list(_HOME_OF)

if not TYPE_CHECKING:

    def __getattr__(name: str) -> Any:
        if name not in _HOME_OF:
            raise AttributeError(f"module 'core' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *_HOME_OF})
