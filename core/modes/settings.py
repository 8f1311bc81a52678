"""What the settings of all drafters have in common, and those of trees that a model grows."""

from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from core.errors import InvalidSettingError
from core.settings import Settings, setting

MAX_TREE_NODES = 256
# How often a drafter's best token is accepted, as long as nothing else is known of the drafter.
EXPECTED_RATE = 0.7
# As a draft model's name: the head and the block drafter that come with the program, and the quantized
# target itself.
SHIPPED_HEAD: Final = "eagle"
SHIPPED_BLOCK: Final = "block"
SELF = "self"
MEMORY_HELP = "look up in earlier answers as well, and remember this one"


@dataclass(frozen=True, kw_only=True)
class DrafterSettings(Settings):
    """Base of each drafter's own settings. The first line of a class's docstring is the help of
    its mode."""

    @classmethod
    def unheeded(cls, draft: str) -> frozenset[str]:
        """Names of the settings that have no effect where the draft model of that name drafts."""
        return frozenset()

    def check_run(self, run: Any) -> None:
        """Raises InvalidSettingError for what does not go together with a run's other settings,
        a `core.config.RunConfig`."""


def remembers(settings: DrafterSettings | None) -> bool:
    """Whether a run with these settings looks up in earlier answers."""
    return bool(getattr(settings, "memory", False))


SettingsT = TypeVar("SettingsT", bound=DrafterSettings)


def as_chains(settings: SettingsT) -> SettingsT:
    """The settings with one continuation a node, where they say how many."""
    fewer: dict[str, Any] = {"branching": 1} if hasattr(settings, "branching") else {}
    return replace(settings, **fewer)


@dataclass(frozen=True, kw_only=True)
class TreeSettings(DrafterSettings):
    """Dynamic draft trees of a model (EAGLE-2, Li et al. 2024); a chain has branching 1."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.depth * self.branching > MAX_TREE_NODES:
            raise InvalidSettingError(
                f"depth {self.depth} times branching {self.branching} are "
                f"{self.depth * self.branching} rows of drafting; give at most {MAX_TREE_NODES}."
            )

    num_nodes: int = setting(
        24, "largest number of draft tokens a step", low=1, high=MAX_TREE_NODES
    )
    depth: int = setting(8, "longest draft path in tokens", low=1, high=64)
    branching: int = setting(1, "children of a node, and nodes expanded a level", low=1, high=16)
    fixed_size: bool = setting(
        False, "always fill the tree, instead of sizing it by the measured cost of verification"
    )

    @property
    def expected_rate(self) -> float:
        """How often the best token after a node is expected to be accepted, before any was judged."""
        return EXPECTED_RATE
