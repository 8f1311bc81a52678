import math

import pandas as pd
import pytest

from core.errors import InvalidSettingError
from core.trace.events import Verified
from core.trace.file import Trace
from tests.visualize.trace_builder import CHAIN, FORK, PLAIN, make_trace
from visualize.compare import SUMMARY_DTYPES, Divergence, first_divergence, summary_frame


def record(trace: Trace, step: int, token_ids: list[int], probs: list[float]) -> None:
    """Replaces what a step recorded at its root."""
    verified = next(event for event in trace.of_kind(Verified) if event.step == step)
    verified.top_k_token_ids[0] = token_ids
    verified.top_k_probs[0] = probs


def test_equal_outputs_do_not_diverge_whatever_their_steps() -> None:
    reference = make_trace(*(PLAIN._replace(next_token_id=token) for token in (10, 11, 12)))
    assert first_divergence(reference, make_trace(CHAIN)) is None


def test_a_shorter_output_is_compared_as_far_as_it_goes() -> None:
    reference = make_trace(CHAIN, FORK)
    assert first_divergence(reference, make_trace(CHAIN, end="stopped")) is None
    assert first_divergence(make_trace(end="failed"), reference) is None


def test_the_gap_is_the_references_own_at_that_position() -> None:
    reference = make_trace(PLAIN, PLAIN._replace(next_token_id=31), mode="naive")
    record(reference, 2, [31, 32], [0.4, 0.1])
    other = make_trace(PLAIN, PLAIN._replace(next_token_id=32))
    assert first_divergence(reference, other) == Divergence(
        position=1,
        reference_token_id=31,
        reference_text="w31 ",
        other_token_id=32,
        other_text="w32 ",
        logit_gap=math.log(0.4) - math.log(0.1),
        is_lower_bound=False,
    )


def test_a_token_that_was_not_recorded_gives_a_lower_bound() -> None:
    reference = make_trace(PLAIN)
    record(reference, 1, [30, 7], [0.4, 0.2])
    found = first_divergence(reference, make_trace(PLAIN._replace(next_token_id=32)))
    assert found is not None
    assert (found.logit_gap, found.is_lower_bound) == (math.log(2.0), True)


def test_without_recording_the_gap_is_unknown() -> None:
    reference = make_trace(PLAIN._replace(recorded=False))
    found = first_divergence(reference, make_trace(PLAIN._replace(next_token_id=32)))
    assert found is not None
    assert (found.logit_gap, found.is_lower_bound) == (None, False)


def test_a_divergence_inside_an_accepted_path_uses_the_nodes_probability() -> None:
    reference = make_trace(FORK, CHAIN)
    # The second token of the chain has probability 0.25 after node 1; 99 is not recorded there.
    tokens = [21, 22, 10, 99]
    other = make_trace(*(PLAIN._replace(next_token_id=token) for token in tokens))
    found = first_divergence(reference, other)
    assert found is not None
    assert (found.position, found.reference_token_id, found.other_token_id) == (3, 11, 99)
    assert (found.logit_gap, found.is_lower_bound) == (0.0, True)


def test_different_prompts_are_refused() -> None:
    with pytest.raises(InvalidSettingError, match="different prompts"):
        first_divergence(make_trace(PLAIN), make_trace(PLAIN, prompt_token_ids=[9]))


def test_the_summary_of_repeats() -> None:
    frame = summary_frame(
        [
            make_trace(PLAIN, PLAIN, mode="naive", step_s=0.020),
            make_trace(CHAIN, FORK, step_s=0.020),
            make_trace(CHAIN, FORK, step_s=0.025),
            make_trace(CHAIN, end="failed"),
        ]
    )
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == SUMMARY_DTYPES
    naive, ngram = frame.iloc[0], frame.iloc[1]
    assert (naive["run"], naive["num_runs"], naive["num_failed"]) == ("naive", 1, 0)
    assert naive["speed_up"] == 1.0
    assert pd.isna(naive["acceptance_rate"])
    assert naive["acceptance_length"] == 1.0
    assert (ngram["num_runs"], ngram["num_failed"]) == (2, 1)
    assert ngram["tokens_per_s"] == pytest.approx(112.5)
    assert ngram["tokens_per_s_min"] == pytest.approx(100.0)
    assert ngram["tokens_per_s_max"] == pytest.approx(125.0)
    assert ngram["speed_up"] == pytest.approx(112.5 / 50.0)
    assert (ngram["acceptance_length"], ngram["num_steps"]) == (2.5, 4)
    assert (ngram["num_accepted"], ngram["num_tested"], ngram["acceptance_rate"]) == (6, 10, 0.6)
    assert ngram["draft_share"] == pytest.approx(0.008 / 0.090)
    assert ngram["time_to_first_token_s"] == pytest.approx(0.114)
    # One pause of each repeat, taken together; the failed one is left out.
    assert ngram["pause_p50_s"] == pytest.approx(0.0225)
    assert ngram["longest_pause_s"] == pytest.approx(0.025)
    assert (ngram["mean_burst"], ngram["largest_burst"]) == (2.5, 3)
    assert ngram["peak_memory_bytes"] == 1_000


def test_a_plain_run_of_another_machine_gives_no_speed_up() -> None:
    frame = summary_frame(
        [make_trace(PLAIN, mode="naive", device="H100"), make_trace(CHAIN, device="CPU")]
    )
    assert frame["run"].tolist() == ["naive, H100", "ngram, CPU"]
    assert frame["speed_up"].isna().tolist() == [False, True]


def test_a_run_with_other_settings_is_no_repeat() -> None:
    configs = [{"mode": "ngram", "drafter": {"depth": depth}} for depth in (4, 8)]
    frame = summary_frame([make_trace(CHAIN, config=config) for config in configs])
    assert frame["run"].tolist() == ["ngram, depth 4", "ngram, depth 8"]


def test_no_runs_and_only_failed_runs_give_empty_cells() -> None:
    assert summary_frame([]).empty
    row = summary_frame([make_trace(end="failed")]).iloc[0]
    assert (row["num_runs"], row["num_failed"], row["num_steps"]) == (0, 1, 0)
    assert pd.isna(row["tokens_per_s"]) and pd.isna(row["longest_pause_s"])
