"""Generation: the target's own greedy text, the same for a seed, resumed without doubles."""

from pathlib import Path

import numpy as np
import pytest
import torch

from core.loading.loading import load_model
from core.train import generate_data
from core.train.chat_frame import chat_frame
from core.train.filters import NearDuplicates, is_held_out, is_repetitive
from core.train.packing import pack, rows_of_step
from core.train.sampler import Opening, Sampler, SamplerSettings
from core.train.shards import read_shards
from core.train.teacher import own_forward
from tests.core.families.family_configs import random_module
from tests.core.train.conftest import write_chat_model


@pytest.mark.parametrize("family", ["llama", "gemma2", "gpt_oss", "llama4_text"])
def test_sampled_answers_are_those_of_plain_greedy_decoding(family: str, tmp_path: Path) -> None:
    """Windows, caps, sinks, experts and chunks among them."""
    chat_folder = write_chat_model(tmp_path, random_module(family))
    target = load_model(chat_folder, dtype="float32", compile=False)
    frame = chat_frame(target.tokenizer, target.eos_token_ids)
    sampler = Sampler(own_forward(target), frame, SamplerSettings(2, 60, 16, 20))
    openings = [
        Opening(frame.conversation_start([10 + index, 11]), True, 1, 0.0) for index in range(4)
    ]
    sampled = sampler.run(openings, seed=0)
    for row, owners in zip(sampled.token_ids, sampled.openings, strict=True):
        for owner in owners.unique().tolist():
            ids = row[owners == owner]
            start = len(openings[owner % 4].token_ids)
            assert ids[:start].tolist() == openings[owner % 4].token_ids[: len(ids)]
            if len(ids) > start:
                logits = target.module(ids[None, :-1]).logits[0, start - 1 :]
                assert logits.argmax(-1).tolist() == ids[start:].tolist()


def run_generation(chat_folder: str, prompts: Path, out: Path, monkeypatch) -> bytes:
    # A random model's text is no text: what it is like is not the matter here.
    monkeypatch.setattr(
        "core.train.conversations._why_not",
        lambda ids, mask, *rest: None if mask.any() else "no answer",
    )
    options = ["--target", chat_folder, "--out", str(out), "--slots", "4", "--columns", "64"]
    options += ["--tokens", "700", "--most-user-tokens", "16", "--most-answer-tokens", "24"]
    assert generate_data.main([*options, "--prompts", str(prompts), "--held-out", "0.3"]) == 0
    return b"".join(path.read_bytes() for path in sorted(out.glob("shard-*")))


def test_a_killed_generation_goes_on_to_the_same_shards(
    chat_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(f"number-{index}-please" for index in range(40)))
    whole = run_generation(chat_folder, prompts, tmp_path / "whole", monkeypatch)
    shards = sorted((tmp_path / "whole").glob("shard-*"))
    assert len(shards) == 3
    shards[1].unlink()
    assert run_generation(chat_folder, prompts, tmp_path / "whole", monkeypatch) == whole
    data = read_shards(tmp_path / "whole")
    assert 0 < int(data.is_held_out.sum()) < len(data.is_held_out)


def test_another_seed_in_the_same_folder_is_refused(
    chat_folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    prompts = tmp_path / "prompts.txt"
    prompts.write_text("\n".join(f"number-{index}-please" for index in range(40)))
    run_generation(chat_folder, prompts, tmp_path / "data", monkeypatch)
    options = ["--target", chat_folder, "--out", str(tmp_path / "data"), "--seed", "1"]
    assert generate_data.main(options) == 2
    assert "other settings (seed" in capsys.readouterr().err


def test_near_duplicates_of_questions_are_found() -> None:
    near = NearDuplicates(["Describe a vivid scene of a harbour town at dawn in winter."])
    assert near("describe a vivid scene of a harbour town at dawn in winter")
    assert near("Please describe a vivid scene of a harbour town for my novel.")
    assert not near("Which rivers flow through Vienna?")


def test_loops_are_repetitive_and_sentences_are_not() -> None:
    assert is_repetitive(np.array([3, 4, 5] * 20, dtype=np.int32))
    assert not is_repetitive(np.arange(60, dtype=np.int32))


def test_the_held_out_split_depends_on_words_alone() -> None:
    prompts = [f"question number {index}" for index in range(1000)]
    held_out = [is_held_out(prompt, 0.1) for prompt in prompts]
    assert 60 < sum(held_out) < 140
    assert held_out == [is_held_out(f"  {prompt.upper()}?", 0.1) for prompt in prompts]


def test_packing_keeps_every_token_with_its_conversation(data_folder: Path) -> None:
    data = read_shards(data_folder)
    rows = pack(data, torch.ones_like(data.is_held_out), 96)
    assert int((rows.documents > 0).sum()) == len(data.token_ids)
    assert int(rows.loss_mask.sum()) == int(data.loss_mask.sum())


def test_an_epoch_deals_every_row_once_and_the_next_in_another_order() -> None:
    first, second = (
        torch.cat([rows_of_step(12, 4, step, 7) for step in steps]).tolist()
        for steps in (range(3), range(3, 6))
    )
    assert sorted(first) == sorted(second) == list(range(12))
    assert first != second
