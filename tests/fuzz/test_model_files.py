"""Mutated models give the text that transformers gives, or one sentence; nothing else, and no crash.

A small share runs with the other tests; `python -m pytest tests/fuzz -m slow` tries all of it.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.module_map import ROOT
from tests.own_cache import own_cache

NUM_MODELS, IN_A_PROCESS = 10_000, 500


def tried(first: int, count: int, folder: Path) -> None:
    home = own_cache(folder / "cache")
    worker = [sys.executable, "-m", "tests.fuzz.model_worker", str(first), str(count), str(folder)]
    result = subprocess.run(
        worker,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "SPECDECODES_HOME": home, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    lines = result.stdout.splitlines()
    broke = [line for line in lines if line.startswith("!")]
    assert not broke, "\n".join(broke)
    seeds = [line for line in lines if line.isdecimal()]
    assert result.returncode == 0, f"it died with seed {seeds[-1:]}: {result.stderr[-1000:]}"
    assert len(seeds) == count


def test_some_mutated_models_give_their_text_or_a_sentence(tmp_path: Path) -> None:
    tried(0, 40, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, NUM_MODELS, IN_A_PROCESS))
def test_all_mutated_models_give_their_text_or_a_sentence(first: int, tmp_path: Path) -> None:
    tried(first, IN_A_PROCESS, tmp_path)
