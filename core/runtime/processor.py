"""What is used of this machine's processor, where one setting decides instead of the machine.

`SPECDECODES_CPU` limits the instruction sets of the compiled kernels. Threads are torch's
(`OMP_NUM_THREADS`), and the compiler is `CXX`'s.
"""

import os
import platform
from typing import NamedTuple

import torch

from core.errors import InvalidSettingError

SETTING = "SPECDECODES_CPU"


class InstructionSets(NamedTuple):
    """How far a processor is used."""

    x86_flag: str
    """What tells the compiler so on x86."""
    arm_flag: str


LEVELS = {
    "native": InstructionSets("-march=native", "-mcpu=native"),
    "avx2": InstructionSets("-march=x86-64-v3", "-mcpu=generic"),
    "portable": InstructionSets("-march=x86-64", "-mcpu=generic"),
}


def level_name() -> str:
    """What `SPECDECODES_CPU` names; raises InvalidSettingError for a value of no meaning here."""
    level = os.environ.get(SETTING) or "native"
    if level not in LEVELS:
        raise InvalidSettingError(f"{SETTING} is {level!r}; give {', '.join(LEVELS)}, or unset it.")
    if level == "avx2" and torch.backends.cpu.get_cpu_capability() not in ("AVX2", "AVX512"):
        raise InvalidSettingError(
            f"{SETTING} is avx2, which this processor lacks; give portable, or unset it."
        )
    return level


def tuning_flag() -> str:
    """What the C++ compiler is told of the processor."""
    allowed = LEVELS[level_name()]
    is_x86 = platform.machine() in ("x86_64", "AMD64", "i686")
    return allowed.x86_flag if is_x86 else allowed.arm_flag
