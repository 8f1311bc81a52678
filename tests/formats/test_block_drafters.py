"""Block drafters of every published form draft what their authors' own code drafts with them.

`make_block_drafters.py` made the folders and says how.
"""

from pathlib import Path

import pytest
import torch

from core.config import RunConfig
from core.drafters.block_description import MARKOV_KINDS
from core.drafters.block_loading import load_block
from core.engine import Engine
from core.errors import DrafterUnavailableError
from core.loading.forward import runner_of
from core.loading.loading import LoadedModel
from core.trace.events import Drafted
from tests.formats.published import (
    BLOCKS,
    TOLERANCE,
    Change,
    names_in,
    recorded,
    setting,
    tensor,
    trace_of,
    write_changed,
)

NAMES = names_in(BLOCKS)
TREE = {"branching": 3, "depth": 4, "num_nodes": 12, "fixed_size": True}
SAMPLED = {"do_sample": True, "temperature": 1.0, "seed": 4}


def test_every_form_is_there() -> None:
    dspark = [
        f"{writer}-dspark-{kind}"
        for writer in ("specforge", "speculators")
        for kind in MARKOV_KINDS
    ]
    assert sorted(["specforge", "speculators", "z-lab", *dspark]) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_published_block_drafter_drafts_as_its_authors_code_does(
    name: str, engine: Engine
) -> None:
    expected = recorded(BLOCKS / name)
    chain = {"branching": 1, "depth": 8, "num_nodes": 8, "fixed_size": True}
    found = trace_of(
        engine, expected.prompt, mode="sd-block", draft=str(BLOCKS / name), drafter=chain
    )
    first = next(iter(found.of_kind(Drafted)))
    assert first.token_ids[1:] == expected.drafted
    assert first.draft_probs[1:] == pytest.approx(expected.probs, abs=TOLERANCE)
    assert found.token_ids == trace_of(engine, expected.prompt).token_ids


@pytest.mark.parametrize("name", ["speculators", "speculators-dspark-rnn"])
@pytest.mark.parametrize("sampling", [{}, SAMPLED], ids=["greedy", "sampled"])
@pytest.mark.parametrize("drafter", [TREE, {"depth": 3}], ids=["tree", "by cost"])
def test_trees_and_sizes_by_cost_leave_the_text_as_it_is(
    drafter: dict, sampling: dict, name: str, engine: Engine
) -> None:
    draft = BLOCKS / name
    prompt, settings = recorded(draft).prompt, {"sampling": sampling, "max_new_tokens": 40}
    found = trace_of(engine, prompt, mode="sd-block", draft=str(draft), drafter=drafter, **settings)
    assert found.token_ids == trace_of(engine, prompt, **settings).token_ids
    if drafter is TREE:
        assert found.stats.num_drafted > 100


@pytest.mark.parametrize("kind", ["gated", "rnn"])
def test_every_path_of_a_tree_is_corrected_by_its_own_tokens(kind: str, engine: Engine) -> None:
    """The best path of a wide tree says what the authors' chain says, beside paths that say others."""
    draft = BLOCKS / f"specforge-dspark-{kind}"
    expected = recorded(draft)
    wide = {"branching": 4, "depth": 4, "num_nodes": 64, "fixed_size": True}
    found = trace_of(engine, expected.prompt, mode="sd-block", draft=str(draft), drafter=wide)
    first = next(iter(found.of_kind(Drafted)))
    node, children = 0, set()
    for token_id in expected.drafted[:3]:
        node = next(
            child for child, parent in enumerate(first.parents)
            if parent == node and first.token_ids[child] == token_id
        )  # fmt: skip
    for other, depth in enumerate(first.depths):
        if depth == 2 and first.top_k_token_ids[other]:
            children.add(tuple(first.top_k_probs[other]))
    assert len(children) > 1


def test_a_draft_behind_accepted_tokens_is_that_of_a_prompt_with_them(engine: Engine) -> None:
    """The states of what was committed stand in the drafter's cache as those of a prompt do."""
    draft = BLOCKS / "z-lab"
    prompt = recorded(draft).prompt
    settings = {
        "mode": "sd-block",
        "draft": str(draft),
        "drafter": {"depth": 4, "fixed_size": True},
    }
    found = trace_of(engine, prompt, **settings)
    later = list(found.of_kind(Drafted))[3]
    so_far = [*prompt, *found.token_ids]
    count = next(
        end for end in range(len(prompt) + 1, len(so_far)) if so_far[end - 1] == later.token_ids[0]
        and end >= len(prompt) + 3
    )  # fmt: skip
    anew = next(iter(trace_of(engine, so_far[:count], **settings).of_kind(Drafted)))
    assert anew.token_ids == later.token_ids
    assert anew.draft_probs == pytest.approx(later.draft_probs, abs=TOLERANCE)


@pytest.mark.parametrize(
    ("source", "change", "told"),
    [
        ("z-lab", setting(dflash_config={"mask_token_id": 11, "causal": True}), "sets causal to True"),
        ("z-lab", setting(dflash_config={"mask_token_id": 11, "markov_rank": 8}), "sets markov_rank"),
        ("z-lab", setting(dflash_config={}), "mask_token_id None, which is no number from 0 to 191"),
        ("z-lab", setting(block_size=1), "block_size 1, which is no number from 2 to 256"),
        ("z-lab", setting(num_target_layers=36), "for a target of 36 layers, not 8"),
        ("z-lab", setting(model_type="llama"), "layers of the type 'llama', not qwen3"),
        ("z-lab", setting(final_logit_softcapping=30.0), "final_logit_softcapping"),
        ("z-lab", setting(hidden_size=48, num_attention_heads=6), "has hidden_size 48"),
        (
            "z-lab",
            setting(layer_types=["sliding_attention"] * 3, sliding_window=8, use_sliding_window=True),
            "layers with a window",
        ),
        ("z-lab", setting(dflash_config={"mask_token_id": 11, "target_layer_ids": [8]}), "target has 8"),
        ("z-lab", tensor("markov_head.markov_w1.weight", lambda have: torch.ones(2)), "markov_w1"),
        ("z-lab", tensor("hidden_norm.weight", lambda have: None), "hidden_norm.weight has nothing"),
        ("speculators", setting(sample_from_anchor="yes"), "sample_from_anchor 'yes', which is neither"),
        ("speculators", setting(speculators_model_type="dspark"), "markov_w1.weight has nothing"),
        ("speculators", setting(speculators_model_type="eagle3"), "type 'eagle3', not dflash or dspark"),
    ],
)  # fmt: skip
def test_what_cannot_be_computed_is_refused_by_its_name(
    source: str, change: Change, told: str, target: LoadedModel, tmp_path: Path
) -> None:
    folder = write_changed(tmp_path / "drafter", BLOCKS / source, change)
    with pytest.raises(DrafterUnavailableError, match=told) as refused:
        load_block(folder, target, runner_of(target).forward)
    assert "\n" not in str(refused.value)


def test_layers_of_the_target_are_spread_where_none_are_named(
    target: LoadedModel, tmp_path: Path
) -> None:
    unnamed = setting(dflash_config={"mask_token_id": 11})
    folder = write_changed(tmp_path / "drafter", BLOCKS / "z-lab", unnamed)
    block = load_block(folder, target, runner_of(target).forward)
    assert block.weights.state_layers == (2, 4, 6)


def test_without_a_folder_the_mode_says_what_to_give(engine: Engine) -> None:
    with pytest.raises(
        DrafterUnavailableError, match=r"no block drafter is shipped for .*; give --draft a folder"
    ):
        trace_of(engine, [1, 2, 3], mode="sd-block")


@pytest.mark.parametrize("name", ["z-lab", "specforge-dspark-gated", "specforge-dspark-rnn"])
def test_drafts_side_by_side_are_those_of_a_run_alone(name: str, engine: Engine) -> None:
    """Heads that read the drafter's own states once had none where several runs share a forward."""
    draft = str(BLOCKS / name)
    config = RunConfig.from_dict(
        {"mode": "sd-block", "draft": draft, "drafter": TREE, "max_new_tokens": 24}
    )
    prompts = [recorded(BLOCKS / name).prompt, recorded(BLOCKS / name).prompt[:-2]]
    found: list[list[list[int]]] = [[], []]
    runs = [(engine.token_prompt(prompt), config) for prompt in prompts]
    for index, event in engine.run_batch(runs, 2):
        if isinstance(event, Drafted):
            found[index].append(event.token_ids)
    for prompt, drafts in zip(prompts, found, strict=True):
        alone = [
            event.token_ids
            for event in engine.run(engine.token_prompt(prompt), config)
            if isinstance(event, Drafted)
        ]
        # Later ones are ordered by what a device learned from all of them.
        assert drafts[:2] == alone[:2] and len(alone) > 2
