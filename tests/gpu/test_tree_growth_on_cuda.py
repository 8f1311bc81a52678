"""Trees grown by kernels: what torch's operations choose. With TRITON_INTERPRET=1 also on a CPU."""

import os

import pytest
import torch

from core.backends.logit_facts import best_first
from core.drafters.tree_growth_device import Frontier, TorchSelection

pytestmark = pytest.mark.gpu
DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"


@pytest.mark.parametrize("reduced", [False, True], ids=["all ids", "reduced"])
@pytest.mark.parametrize("count", [1, 3, 8])
@pytest.mark.parametrize(("rows", "vocab", "size"), [(1, 40, 37), (8, 2500, 2500), (3, 9000, 8192)])
def test_the_best_of_rows_are_those_of_torch(
    rows: int, vocab: int, size: int, count: int, reduced: bool
) -> None:
    from core.drafters.tree_growth_kernels import best_of_rows

    generator = torch.Generator().manual_seed(rows)
    logits = 3 * torch.randn(rows, vocab, generator=generator)
    logits[:, size:] = 100.0  # which nobody may see
    ids, values = best_first(logits[:, :size], count)
    expected = (values - logits[:, :size].logsumexp(-1, keepdim=True)).exp()
    target_ids = torch.arange(size) * 2 + 1 if reduced else None
    if target_ids is not None:
        ids = target_ids[ids]
    given = logits.to(DEVICE)
    found_ids, found = best_of_rows(
        given, count, size, None if target_ids is None else target_ids.to(DEVICE)
    )
    assert found_ids.cpu().tolist() == ids.tolist()
    torch.testing.assert_close(found.cpu(), expected, rtol=1e-5, atol=1e-7)
    repeated, _ = best_of_rows(given[:1].expand(4, -1), count, size)
    assert all(torch.equal(row, repeated[0]) for row in repeated)


def test_of_equal_logits_the_first_come_first_and_excluded_ones_once() -> None:
    from core.drafters.tree_growth_kernels import best_of_rows

    logits = torch.full((2, 3000), -torch.inf)
    logits[0, [5, 1030, 2900]] = 1.0
    logits[1, 2222] = 0.5
    ids, probs = (found.cpu() for found in best_of_rows(logits.to(DEVICE), 5, 3000))
    assert ids[0, :3].tolist() == [5, 1030, 2900] and ids[1, 0] == 2222
    assert all(len(set(row)) == 5 for row in ids.tolist())
    torch.testing.assert_close(probs[0], torch.tensor([1 / 3, 1 / 3, 1 / 3, 0, 0]))
    torch.testing.assert_close(probs[1], torch.tensor([1.0, 0, 0, 0, 0]))


def test_what_is_no_number_has_ids_that_exist() -> None:
    from core.drafters.tree_growth_kernels import best_of_rows

    ids, probs = best_of_rows(torch.full((2, 1100), torch.nan, device=DEVICE), 4, 1100)
    assert ((ids >= 0) & (ids < 1100)).all()
    assert not probs.isfinite().any()


@pytest.mark.parametrize("prob_is_chance", [True, False])
@pytest.mark.parametrize(
    ("sequences", "rows", "width", "level_rows"),
    [
        (1, 1, 4, 12),
        (1, 4, 4, 12),
        (1, 8, 8, 48),
        (1, 1, 1, 0),
        (3, 1, 4, 12),
        (5, 4, 4, 12),
        (2, 1, 1, 0),
    ],
)
def test_what_is_expanded_next_is_what_torch_selects(
    sequences: int, rows: int, width: int, level_rows: int, prob_is_chance: bool
) -> None:
    from core.drafters.tree_growth_kernels import KernelSelection

    generator = torch.Generator().manual_seed(width)

    def random(*sizes: int) -> torch.Tensor:
        return torch.rand(sizes, generator=generator, dtype=torch.float64)

    tables = torch.stack([random(3, 10), 1.0 + random(3, 10)])
    probs = random(sequences * rows, width).sort(descending=True).values.float()
    probs[0, -1] = probs[0, 0]  # equal in reach where a chance is none of a rank
    ids = torch.randint(500, (sequences * rows, width), generator=generator)
    above = torch.rand((sequences, rows, level_rows), generator=generator) < 0.3
    nodes = torch.arange(rows).repeat(sequences, 1)
    frontier = Frontier(nodes, nodes, random(sequences, rows), nodes, above)
    expected = TorchSelection(tables, prob_is_chance)(ids, probs, frontier, 2, 9)
    on_device = Frontier(*(part.to(DEVICE) for part in frontier))
    select = KernelSelection(tables.to(DEVICE), prob_is_chance)
    found = select(ids.to(DEVICE), probs.to(DEVICE), on_device, 2, 9)
    torch.testing.assert_close(found.reach.cpu(), expected.reach, rtol=1e-12, atol=0)
    for one, other in zip(found.frontier, expected.frontier, strict=True):
        assert one.shape == other.shape
        assert torch.allclose(one.cpu(), other), "in the same order"
