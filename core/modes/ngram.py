"""ngram: drafts from repetition in prompt and output."""

from dataclasses import dataclass

from core.modes.registry import Mode, register
from core.modes.settings import MAX_TREE_NODES, MEMORY_HELP, DrafterSettings
from core.settings import setting


@dataclass(frozen=True, kw_only=True)
class NgramSettings(DrafterSettings):
    """Suffix lookup in prompt and output (prompt lookup, Saxena 2023; SuffixDecoding, 2024)."""

    num_nodes: int = setting(
        32, "largest number of draft tokens a step", low=1, high=MAX_TREE_NODES
    )
    depth: int = setting(24, "longest draft path in tokens", low=1, high=MAX_TREE_NODES)
    branching: int = setting(3, "most continuations tried after one context", low=1, high=16)
    min_match: int = setting(
        1, "shortest repeated context in tokens that may draft", low=1, high=64
    )
    fixed_size: bool = setting(
        False, "always fill the tree, instead of sizing it by the measured cost of verification"
    )
    memory: bool = setting(False, MEMORY_HELP)


register(Mode("ngram", "lookup", NgramSettings, "core.drafters.ngram:make_ngram"))
