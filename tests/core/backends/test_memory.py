"""What models and caches take of memory: what is used of them, not what they could hold."""

from pathlib import Path

import pytest
import torch

from core.backends.kv_cache import TreeCache
from core.models.gguf_index import open_gguf
from tests.core.loading.test_gguf_weights import write_gguf
from tests.tiny_models import tiny_model

SMAPS = Path("/proc/self/smaps")
pytestmark = pytest.mark.skipif(not SMAPS.exists(), reason="the system has no /proc")


def resident_kb(of_file: Path | None = None) -> int:
    """Of this process, or of its mappings of a file."""
    total, counts = 0, False
    for line in SMAPS.read_text().splitlines():
        if "-" in line.split()[0] and ":" not in line.split()[0]:
            counts = of_file is None or line.endswith(str(of_file))
        elif counts and line.startswith("Rss:"):
            total += int(line.split()[1])
    return total


def test_columns_that_nobody_wrote_take_no_memory() -> None:
    before = resident_kb()
    cache = TreeCache(4, 2, 64, 1 << 16, torch.float32, torch.device("cpu"))
    assert cache.storage.nbytes == 1 << 28
    cache.storage[:, :, :, :, :16] = 1.0
    cache.length = 16
    cache.keep([0, 2])
    assert resident_kb() - before < 32_000
    assert float(cache.storage[3, 1, 0, 1, 15:17].sum()) == 64.0


def test_pages_of_a_file_are_given_back_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "model.gguf"
    write_gguf(path, tiny_model("llama"), "Q8_0", "Q8_0")
    file = open_gguf(path)
    before = {name: tensor.data.copy() for name, tensor in file.tensors.items()}
    assert resident_kb(path) > 0
    file.forget_pages()
    assert resident_kb(path) == 0
    assert all((file.tensors[name].data == data).all() for name, data in before.items())
