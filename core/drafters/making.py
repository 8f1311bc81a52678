"""Makes the drafter of a run from its configuration, and says which modes a target cannot run."""

from core.drafters.base import Drafter
from core.drafters.context import DrafterContext
from core.families.description import reason_against
from core.loading.loading import LoadedModel
from core.modes.registry import mode_names, modes, resolved


def make_drafter(context: DrafterContext) -> Drafter | None:
    """The drafter for a checked configuration; None for plain decoding."""
    factory = resolved(modes()[context.config.mode].factory)
    if factory is None:
        return None
    drafter: Drafter = factory(context)
    return drafter


def unavailable_reason(
    name: str, draft: str | None, target: LoadedModel, *, is_own: bool
) -> str | None:
    """Why a mode cannot run with a target, in one sentence; None where it can.

    `draft` is the named draft model, and `is_own` whether our own forward computes the target.
    """
    mode = modes().get(name)
    if mode is None:
        return f"mode is {name!r}; give one of {', '.join(mode_names())}."
    if not is_own and mode.needs_own(draft):
        return (
            f"mode {name} drafts with the target's own layers, which our own forward must compute, "
            f"and it cannot ({_why_not_own(target)}); give another target or mode."
        )
    return mode.refusal(draft, target)


def _why_not_own(target: LoadedModel) -> str:
    if target.split is not None:
        return "it is split over several processes"
    if target.is_spread:
        return "it is spread over several GPUs"
    return str(reason_against(target.module.config.to_dict()))
