"""The target's probabilities and its keyed noise."""

import pytest
import torch

from core.acceptance.sampling import (
    KeyedNoise,
    TokenDrawer,
    first_in_race,
    keyed_noise,
    log_probs_under,
)
from core.backends.cpu.library import load_kernels
from core.config import SamplingConfig
from core.runtime.storage import no_progress

CPU = torch.device("cpu")


def probs_of(logits: list[float], **settings: object) -> list[float]:
    sampling = SamplingConfig(do_sample=True, **settings)
    return log_probs_under(torch.tensor([logits]), sampling)[0].exp().tolist()


def test_top_k_keeps_the_k_best_and_renormalises() -> None:
    assert probs_of([2.0, 1.0, 0.0, -1.0], top_k=2) == pytest.approx(
        [0.7311, 0.2689, 0, 0], abs=1e-4
    )


def test_top_p_keeps_the_token_that_crosses_the_mass() -> None:
    probs = torch.tensor([0.5, 0.3, 0.15, 0.05])
    assert probs_of(probs.log().tolist(), top_p=0.6) == pytest.approx(
        [0.625, 0.375, 0, 0], abs=1e-5
    )
    assert probs_of(probs.log().tolist(), top_p=0.499) == pytest.approx([1, 0, 0, 0], abs=1e-5)
    assert probs_of(probs.log().tolist(), top_p=1e-6) == pytest.approx([1, 0, 0, 0], abs=1e-5)


def test_a_nucleus_wider_than_the_candidates_is_found_by_a_full_sort() -> None:
    logits = [0.0] * 2000
    kept = sum(prob > 0 for prob in probs_of(logits, top_p=0.9))
    # All are tied, and a tie is never cut.
    assert kept == 2000
    slanted = [-0.001 * index for index in range(2000)]
    mass = torch.tensor(slanted).softmax(0).cumsum(0)
    assert sum(prob > 0 for prob in probs_of(slanted, top_p=0.9)) == int((mass < 0.9).sum()) + 1


def test_temperature_sharpens_and_flattens() -> None:
    assert probs_of([1.0, 0.0], temperature=0.5)[0] == pytest.approx(0.8808, abs=1e-4)
    assert probs_of([1.0, 0.0], temperature=2.0)[0] == pytest.approx(0.6225, abs=1e-4)


@pytest.mark.parametrize("temperature", [1e-30, 1e-6, 1e-3])
def test_a_tiny_temperature_is_greedy_and_finite(temperature: float) -> None:
    assert probs_of([1.0, 3.0, 2.0], temperature=temperature) == pytest.approx([0, 1, 0], abs=1e-6)


def test_noise_depends_on_seed_and_position_alone() -> None:
    noise = KeyedNoise(5, 1000, CPU)
    assert torch.equal(noise.at(3), KeyedNoise(5, 1000, CPU).at(3))
    assert not torch.equal(noise.at(3), noise.at(4))
    assert not torch.equal(noise.at(3), KeyedNoise(6, 1000, CPU).at(3))


def test_noise_is_exponential_and_uncorrelated() -> None:
    values = torch.stack([KeyedNoise(seed, 4096, CPU).at(p) for seed in range(8) for p in range(8)])
    assert values.min() > 0
    assert values.mean() == pytest.approx(1.0, abs=0.01)
    assert values.var() == pytest.approx(1.0, abs=0.02)
    for quantile in (0.1, 0.5, 0.9, 0.99):
        expected = -torch.log1p(torch.tensor(-quantile))
        assert values.flatten()[:200_000].quantile(quantile) == pytest.approx(
            float(expected), rel=0.03
        )
    correlation = torch.corrcoef(values) - torch.eye(len(values))
    assert correlation.abs().max() < 0.08, "4096 samples: five standard errors"


def test_draws_follow_the_probs() -> None:
    """Chi-square over 5,000 positions; 11 degrees of freedom, p = 1e-4 at 37.4."""
    logits = torch.linspace(-2, 2, 12)
    drawer = TokenDrawer(SamplingConfig(do_sample=True, seed=11), 12, CPU)
    counts = torch.zeros(12)
    for position in range(5_000):
        counts[drawer.draw(logits, position)] += 1
    expected = logits.softmax(0) * 5_000
    assert float(((counts - expected) ** 2 / expected).sum()) < 37.4


def test_zero_temperature_and_no_sampling_take_the_maximum() -> None:
    logits = torch.tensor([0.0, 5.0, 4.9])
    for sampling in (SamplingConfig(), SamplingConfig(temperature=0.0)):
        drawer = TokenDrawer(sampling, 3, CPU)
        assert {drawer.draw(logits, position) for position in range(50)} == {1}


def test_a_certain_token_is_always_drawn() -> None:
    logits = torch.tensor([-torch.inf, 0.0, -torch.inf])
    drawer = TokenDrawer(SamplingConfig(do_sample=True), 3, CPU)
    assert {drawer.draw(logits, position) for position in range(500)} == {1}


def test_noise_is_kept_for_a_while_and_shared_while_it_is_held() -> None:
    noise = keyed_noise(3, 200, CPU)
    assert keyed_noise(3, 200, CPU) is noise and keyed_noise(4, 200, CPU) is not noise
    first = noise.log_at(7)
    torch.testing.assert_close(first, KeyedNoise(3, 200, CPU).at(7).log(), atol=1e-6, rtol=1e-6)
    assert noise.log_at(7) is first
    for position in range(100, 200):
        noise.log_at(position)
    assert noise.log_at(7) is not first and torch.equal(noise.log_at(7), first)
    assert len(noise._kept) <= 32


@pytest.mark.parametrize("vocab_size", [1, 7, 8, 130, 49152])
def test_kernels_and_torch_make_the_same_noise(
    vocab_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    load_kernels(no_progress)
    by_kernels = KeyedNoise(11, vocab_size, torch.device("cpu"))
    monkeypatch.setattr("core.acceptance.sampling.loaded_kernels", lambda: None)
    by_torch = KeyedNoise(11, vocab_size, torch.device("cpu"))
    for position in (0, 1, 1 << 40):
        found, expected = by_kernels.log_at(position), by_torch.log_at(position)
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("vocab_size", [1, 9, 5000])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 1.7])
def test_kernels_and_torch_draw_the_same_tokens(vocab_size: int, temperature: float) -> None:
    load_kernels(no_progress)
    sampling = SamplingConfig(do_sample=True, temperature=temperature, seed=4)
    logits = 5 * torch.randn(4, vocab_size, generator=torch.Generator().manual_seed(vocab_size))
    logits[1, : vocab_size // 2] = -torch.inf
    noise = KeyedNoise(4, vocab_size, CPU)
    log_noise = [noise.log_at(position) for position in range(4)]
    drawn = first_in_race(logits, log_noise, sampling, 3)
    assert drawn is not None
    log_probs = log_probs_under(logits, sampling)
    scores = log_probs - torch.stack(log_noise)
    count = min(3, vocab_size)
    for row in range(4):
        possible = min(count, int((logits[row] > -torch.inf).sum()))
        assert drawn.ids[row][:possible] == scores[row].topk(count).indices[:possible].tolist()
        expected = log_probs[row][drawn.ids[row]]
        torch.testing.assert_close(torch.tensor(drawn.log_probs[row]), expected, atol=2e-5, rtol=0)
    race = TokenDrawer(sampling, vocab_size, CPU).race(logits[2], 2)
    assert race.token_id == drawn.ids[2][0] == int(scores[2].argmax())
    numbers = race.log_probs_of([race.token_id, 0])
    torch.testing.assert_close(
        torch.tensor(numbers), log_probs[2][[race.token_id, 0]], atol=2e-5, rtol=0
    )
    narrowed = SamplingConfig(do_sample=True, top_k=1, temperature=temperature)
    assert first_in_race(logits, log_noise, narrowed, 1) is None or vocab_size == 1
