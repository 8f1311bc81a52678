"""What a rule is made of, for tests of single rules."""

import torch

from core.acceptance.base import RuleParts
from core.acceptance.sampling import TokenDrawer
from core.config import SamplingConfig


def rule_parts(
    sampling: SamplingConfig, vocab_size: int, *, seed: int = 0, records_noise: bool = False
) -> RuleParts:
    drawer = TokenDrawer(sampling, vocab_size, torch.device("cpu"))
    return RuleParts(sampling, drawer, torch.Generator().manual_seed(seed), records_noise)
