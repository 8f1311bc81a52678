"""The loop on scripted targets: exact events, exact lengths, exact ends."""

import pytest

from core.config import RunConfig, SamplingConfig
from core.drafters.base import DraftLimits
from core.errors import InvalidSettingError
from core.trace.events import Accepted, Committed, Drafted, Verified
from core.trace.stats import collect_stats
from core.trees.tree import DraftTree
from tests.scripted import (
    ScriptedBackend,
    ScriptedDrafter,
    emitted,
    following,
    hashed_logits,
    run_loop,
    scripted_decoder,
    tree_from,
)

VOCAB = 50
SEQUENCE = [(7 * index + 3) % VOCAB for index in range(200)]


def oracle_drafter(depth: int) -> ScriptedDrafter:
    """Always right: drafts what the target will say."""

    def make_tree(token_ids: list[int], limits: DraftLimits) -> DraftTree:
        tree = DraftTree(token_ids[-1])
        node = 0
        for offset in range(min(depth, limits.depth)):
            node = tree.add(node, SEQUENCE[len(token_ids) + offset], 1.0)
        return tree

    return ScriptedDrafter(make_tree)


def wrong_drafter() -> ScriptedDrafter:
    """Always wrong: one child that the target never says there, with a grandchild."""

    def make_tree(token_ids: list[int], limits: DraftLimits) -> DraftTree:
        wrong = (SEQUENCE[len(token_ids)] + 1) % VOCAB
        return tree_from(token_ids[-1], [(0, wrong), (1, wrong)])

    return ScriptedDrafter(make_tree)


def backend() -> ScriptedBackend:
    return ScriptedBackend(following(SEQUENCE, VOCAB), VOCAB)


def test_plain_decoding_emits_one_token_a_step() -> None:
    target = backend()
    events, reason = run_loop(target, None, SEQUENCE[:4], max_new_tokens=9)
    assert emitted(events) == SEQUENCE[4:13]
    assert reason == "length"
    assert target.num_forwards == 9
    assert {
        source for event in events if isinstance(event, Committed) for source in event.sources
    } == {"plain"}


def test_a_drafter_that_is_always_right_gives_its_full_depth() -> None:
    target = backend()
    events, _ = run_loop(target, oracle_drafter(3), SEQUENCE[:4], mode="ngram", max_new_tokens=12)
    assert emitted(events) == SEQUENCE[4:16]
    assert target.num_forwards == 3
    stats = collect_stats(events)
    assert stats.acceptance_rate == 1.0
    assert stats.acceptance_length == 4.0
    sources = [event.sources for event in events if isinstance(event, Committed)]
    assert sources == [["accepted", "accepted", "accepted", "bonus"]] * 3


def test_a_drafter_that_is_always_wrong_gives_tau_one_and_the_same_text() -> None:
    events, _ = run_loop(backend(), wrong_drafter(), SEQUENCE[:4], mode="ngram", max_new_tokens=10)
    plain, _ = run_loop(backend(), None, SEQUENCE[:4], max_new_tokens=10)
    assert emitted(events) == emitted(plain)
    stats = collect_stats(events)
    assert stats.acceptance_length == 1.0
    assert stats.acceptance_rate == 0.0
    # The last step has room for the target's own token alone, and drafts nothing.
    assert stats.num_drafted == 18
    assert stats.num_tested == 9, "what hangs on a refused node is untested"


def test_the_walk_finds_the_right_branch_and_names_the_rest() -> None:
    def make_tree(token_ids: list[int], limits: DraftLimits) -> DraftTree:
        at = len(token_ids)
        right, second = SEQUENCE[at], SEQUENCE[at + 1]
        wrong = (right + 1) % VOCAB
        entries = [(0, wrong), (0, right), (0, (right + 2) % VOCAB), (1, second), (2, second)]
        return tree_from(token_ids[-1], entries)

    target = backend()
    events, _ = run_loop(
        target, ScriptedDrafter(make_tree), SEQUENCE[:4], mode="ngram", max_new_tokens=3
    )
    accepted = next(event for event in events if isinstance(event, Accepted))
    assert accepted.path == [2, 5]
    assert accepted.tested == [1, 2, 5]
    assert accepted.next_token_id == SEQUENCE[6]
    assert accepted.next_source == "bonus"
    assert target.committed == SEQUENCE[:6], "root and accepted path are in the cache"


def test_a_refusal_behind_an_acceptance_is_recovered() -> None:
    def make_tree(token_ids: list[int], limits: DraftLimits) -> DraftTree:
        right = SEQUENCE[len(token_ids)]
        return tree_from(
            token_ids[-1], [(0, right), (1, (SEQUENCE[len(token_ids) + 1] + 1) % VOCAB)]
        )

    events, _ = run_loop(
        backend(), ScriptedDrafter(make_tree), SEQUENCE[:4], mode="ngram", max_new_tokens=2
    )
    committed = next(event for event in events if isinstance(event, Committed))
    assert committed.sources == ["accepted", "recovered"]
    assert committed.nodes == [1, -1]


@pytest.mark.parametrize("max_new_tokens", [1, 2, 3, 4, 5, 7, 8])
def test_max_new_tokens_is_exact(max_new_tokens: int) -> None:
    events, reason = run_loop(
        backend(), oracle_drafter(5), SEQUENCE[:4], mode="ngram", max_new_tokens=max_new_tokens
    )
    assert len(emitted(events)) == max_new_tokens
    assert reason == "length"


def test_an_accepted_end_token_ends_the_run_without_a_further_token() -> None:
    end = SEQUENCE[6]
    events, reason = run_loop(
        backend(), oracle_drafter(5), SEQUENCE[:4], mode="ngram", max_new_tokens=50,
        end_token_ids=frozenset({end, 49}),
    )  # fmt: skip
    assert emitted(events) == SEQUENCE[4:7]
    assert reason == "eos"
    accepted = next(event for event in events if isinstance(event, Accepted))
    assert accepted.next_token_id is None
    assert accepted.path == [1, 2, 3]
    assert accepted.tested == [1, 2, 3], "nothing behind the end was judged"


def test_every_end_token_ends_the_run() -> None:
    for end in (SEQUENCE[5], SEQUENCE[8]):
        events, reason = run_loop(
            backend(), None, SEQUENCE[:4], max_new_tokens=50, end_token_ids=frozenset({end})
        )
        assert emitted(events)[-1] == end
        assert reason == "eos"


def test_the_context_limit_ends_the_run_with_its_reason() -> None:
    target = ScriptedBackend(following(SEQUENCE, VOCAB), VOCAB, context_limit=11)
    events, reason = run_loop(
        target, oracle_drafter(5), SEQUENCE[:4], mode="ngram", max_new_tokens=50
    )
    assert emitted(events) == SEQUENCE[4:11]
    assert reason == "context"


def test_a_prompt_that_fills_the_context_is_refused_with_both_numbers() -> None:
    target = ScriptedBackend(following(SEQUENCE, VOCAB), VOCAB, context_limit=4)
    with pytest.raises(InvalidSettingError, match=r"4 tokens .* holds 4"):
        run_loop(target, None, SEQUENCE[:4], max_new_tokens=5)


def test_an_empty_prompt_is_refused() -> None:
    with pytest.raises(InvalidSettingError, match="empty"):
        run_loop(backend(), None, [], max_new_tokens=5)


def test_a_stop_ends_the_run_within_one_step_and_keeps_what_was_generated() -> None:
    asked = 0

    def should_stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > 3

    target = backend()
    events, reason = run_loop(
        target, None, SEQUENCE[:4], max_new_tokens=50, should_stop=should_stop
    )
    assert reason == "stopped"
    assert emitted(events) == SEQUENCE[4:7]
    assert target.is_finished


def test_closing_the_generator_finishes_backend_and_drafter() -> None:
    target = backend()
    decoder = scripted_decoder(target, None, RunConfig())
    run = decoder.run(SEQUENCE[:4])
    next(run)
    run.close()
    assert target.is_finished


def test_a_step_gives_four_events_with_rising_times() -> None:
    events, _ = run_loop(backend(), oracle_drafter(2), SEQUENCE[:4], mode="ngram", max_new_tokens=3)
    step = [event for event in events if event.step == 1]
    assert [type(event) for event in step] == [Drafted, Verified, Accepted, Committed]
    borders = [time for event in step for time in (event.t_start_s, event.t_end_s)]
    assert borders == sorted(borders)
    assert step[-1].step_s > step[-1].t_end_s - step[0].t_start_s


@pytest.mark.parametrize("seed", [0, 1, 2**62])
def test_sampling_gives_the_same_text_with_and_without_a_drafter(seed: int) -> None:
    sampling = SamplingConfig(do_sample=True, temperature=1.0, seed=seed).to_dict()

    def make_tree(token_ids: list[int], limits: DraftLimits) -> DraftTree:
        tree = DraftTree(token_ids[-1])
        for token_id in range(12):
            child = tree.add(0, token_id, 0.1)
            for grandchild in range(6 if limits.depth > 1 else 0):
                tree.add(child, grandchild, 0.1)
        return tree

    def target() -> ScriptedBackend:
        return ScriptedBackend(hashed_logits(16), 16)

    drafted, _ = run_loop(
        target(),
        ScriptedDrafter(make_tree),
        [1, 2],
        mode="ngram",
        max_new_tokens=40,
        sampling=sampling,
    )
    plain, _ = run_loop(target(), None, [1, 2], max_new_tokens=40, sampling=sampling)
    assert emitted(drafted) == emitted(plain)
    assert collect_stats(drafted).acceptance_length > 1.3, "the tree covers much of the vocabulary"


def test_recorded_probabilities_are_those_of_the_logits() -> None:
    events, _ = run_loop(backend(), oracle_drafter(2), SEQUENCE[:4], mode="ngram", max_new_tokens=3)
    verified = next(event for event in events if isinstance(event, Verified))
    accepted = next(event for event in events if isinstance(event, Accepted))
    sure = 2.718281828459045**10 / (2.718281828459045**10 + VOCAB - 1)
    assert verified.target_probs == pytest.approx([1.0, sure, sure], rel=1e-5)
    assert [ids[0] for ids in verified.top_k_token_ids] == SEQUENCE[4:7]
    assert [len(ids) for ids in verified.top_k_token_ids] == [5, 5, 5]
    assert verified.top_k_probs[0][0] == pytest.approx(sure, rel=1e-5)
    assert accepted.next_prob == pytest.approx(sure, rel=1e-5)
    assert all(0 <= value < 4 for value in verified.entropies_nats)


def test_recording_can_be_turned_off() -> None:
    events, _ = run_loop(
        backend(), oracle_drafter(2), SEQUENCE[:4], mode="ngram", max_new_tokens=3, trace_top_k=0
    )
    verified = next(event for event in events if isinstance(event, Verified))
    assert (verified.target_probs, verified.top_k_token_ids, verified.entropies_nats) == (
        [],
        [],
        [],
    )
    assert emitted(events) == SEQUENCE[4:7]
