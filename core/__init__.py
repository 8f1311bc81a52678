"""The engine as a library, which docs/api.md leads through: everything in `__all__` is public.

A name is imported when it is first asked for: traces open without torch, and importing is quick.
"""

import sys

if sys.argv[:1] == ["-m"]:  # so it is while Python looks for the command of `python -m core...`
    from core.runtime.early_interrupts import end_by_interrupts

    end_by_interrupts()

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:  # for tools that read the source; a test holds it equal to the table
    from core.attached.engine import AttachedEngine as AttachedEngine
    from core.config import RunConfig as RunConfig
    from core.config import SamplingConfig as SamplingConfig
    from core.decoding.joining import JoiningRun as JoiningRun
    from core.decoding.run_start import Prompt as Prompt
    from core.drafters.suffix_memory import SuffixMemory as SuffixMemory
    from core.engine import Engine as Engine
    from core.errors import BadLogitsError as BadLogitsError
    from core.errors import DrafterUnavailableError as DrafterUnavailableError
    from core.errors import InvalidSettingError as InvalidSettingError
    from core.errors import KernelsUnavailableError as KernelsUnavailableError
    from core.errors import ModelUnavailableError as ModelUnavailableError
    from core.errors import SpecDecodesError as SpecDecodesError
    from core.errors import StorageError as StorageError
    from core.errors import TraceFormatError as TraceFormatError
    from core.loading.loading import LoadedModel as LoadedModel
    from core.loading.loading import load_target as load_target
    from core.modes.hybrid import HybridSettings as HybridSettings
    from core.modes.layer_skip import LayerSkipSettings as LayerSkipSettings
    from core.modes.ngram import NgramSettings as NgramSettings
    from core.modes.registry import register_drafter as register_drafter
    from core.modes.sd_block import BlockSettings as BlockSettings
    from core.modes.sd_classic import ClassicSettings as ClassicSettings
    from core.modes.sd_eagle import EagleSettings as EagleSettings
    from core.modes.sd_medusa import MedusaSettings as MedusaSettings
    from core.modes.sd_mtp import MtpSettings as MtpSettings
    from core.modes.settings import DrafterSettings as DrafterSettings
    from core.modes.settings import TreeSettings as TreeSettings
    from core.modes.share_sd import ShareSdSettings as ShareSdSettings
    from core.trace.events import Accepted as Accepted
    from core.trace.events import Committed as Committed
    from core.trace.events import Drafted as Drafted
    from core.trace.events import DrafterFailed as DrafterFailed
    from core.trace.events import Event as Event
    from core.trace.events import Observed as Observed
    from core.trace.events import Prefilled as Prefilled
    from core.trace.events import ProfileStarted as ProfileStarted
    from core.trace.events import Proposed as Proposed
    from core.trace.events import RunFailed as RunFailed
    from core.trace.events import RunFinished as RunFinished
    from core.trace.events import RunStarted as RunStarted
    from core.trace.events import ServerTotals as ServerTotals
    from core.trace.events import TokenTexts as TokenTexts
    from core.trace.events import Verified as Verified
    from core.trace.file import Trace as Trace
    from core.trace.file import load_trace as load_trace
    from core.trace.file import read_trace as read_trace
    from core.trace.file import save_trace as save_trace
    from core.trace.file import write_trace as write_trace
    from core.trace.fork import Fork as Fork
    from core.trace.fork import fork_of as fork_of
    from core.trace.stats import RunStats as RunStats

_NAMES_OF = {
    "core.config": ("RunConfig", "SamplingConfig"),
    "core.modes.hybrid": ("HybridSettings",),
    "core.modes.layer_skip": ("LayerSkipSettings",),
    "core.modes.ngram": ("NgramSettings",),
    "core.modes.registry": ("register_drafter",),
    "core.modes.sd_block": ("BlockSettings",),
    "core.modes.sd_classic": ("ClassicSettings",),
    "core.modes.sd_eagle": ("EagleSettings",),
    "core.modes.sd_medusa": ("MedusaSettings",),
    "core.modes.sd_mtp": ("MtpSettings",),
    "core.modes.settings": ("DrafterSettings", "TreeSettings"),
    "core.modes.share_sd": ("ShareSdSettings",),
    "core.engine": ("Engine",),
    "core.attached.engine": ("AttachedEngine",),
    "core.drafters.suffix_memory": ("SuffixMemory",),
    "core.errors": (
        "BadLogitsError", "DrafterUnavailableError", "InvalidSettingError",
        "KernelsUnavailableError", "ModelUnavailableError", "SpecDecodesError", "StorageError",
        "TraceFormatError",
    ),
    "core.trace.events": (
        "Accepted", "Committed", "Drafted", "DrafterFailed", "Event", "Observed", "Prefilled",
        "ProfileStarted", "Proposed", "RunFailed", "RunFinished", "RunStarted", "ServerTotals",
        "TokenTexts", "Verified",
    ),
    "core.loading.loading": ("LoadedModel", "load_target"),
    "core.decoding.joining": ("JoiningRun",),
    "core.decoding.run_start": ("Prompt",),
    "core.trace.fork": ("Fork", "fork_of"),
    "core.trace.stats": ("RunStats",),
    "core.trace.file": ("Trace", "load_trace", "read_trace", "save_trace", "write_trace"),
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
