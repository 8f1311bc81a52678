"""Training a block drafter on a CPU: the loss falls, it drafts what it learnt, and as its files say."""

from pathlib import Path

import pytest
import torch

from core.distributed.ranks import Rank
from core.engine import Engine
from core.loading.loading import load_model
from core.trace.events import Drafted
from core.train import train_block
from core.train.block_task import BlockTask
from core.train.distillation import FrozenTarget, load_data
from tests.core.conftest import run
from tests.core.train.test_training import losses_of, options_of
from tests.formats.published import trace_of

LAYERS = (1, 3)
SMALL = [
    "--draft-vocab", "100", "--block-size", "4", "--anchors", "24", "--markov-rank", "8",
    "--feature-layers", "1,3",
]  # fmt: skip
CHAIN = {"branching": 1, "depth": 8, "fixed_size": True}


def task_of(chat_folder: str, data_folder: Path, *options: str) -> BlockTask:
    target = load_model(chat_folder, dtype="float32", compile=False, weights="full")
    told = train_block.options_from(
        [*options_of(chat_folder, data_folder, data_folder, 1), *SMALL, *options]
    )
    data = load_data(data_folder, target, told.row_length, 1.0)
    return BlockTask(target, data, LAYERS, told, Rank(0, 1, torch.device("cpu")))


def test_a_block_drafter_learns_a_text_and_drafts_it(
    chat_folder: str, data_folder: Path, tmp_path: Path
) -> None:
    options = [*options_of(chat_folder, data_folder, tmp_path, 200), *SMALL]
    assert train_block.main([*options, "--distance-share", "0.5", "--width", "64"]) == 0
    losses = losses_of(tmp_path)
    assert losses[-1] < losses[0]
    engine = Engine(load_model(chat_folder, dtype="float32", compile=False))
    prompt = engine.target.tokenizer.decode([181, 84, 10, 11, 12, 180, 181, 64])
    trace = run(
        engine, prompt, max_new_tokens=24, mode="sd-block", draft=str(tmp_path), drafter=CHAIN
    )
    assert trace.token_ids == run(engine, prompt, max_new_tokens=24).token_ids
    assert trace.stats.acceptance_length > 1.5


@pytest.mark.parametrize("head", ["vanilla", "gated", "rnn", "none"])
def test_the_written_folder_drafts_what_training_drafts(
    head: str, chat_folder: str, data_folder: Path, tmp_path: Path
) -> None:
    """Behind many tokens of a packed row, whose second conversation is one of its own."""
    heads = ["--markov-rank", "0"] if head == "none" else ["--markov-head", head]
    task = task_of(chat_folder, data_folder, *heads)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in task.module.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            changed = parameter + noise * (0.1 if parameter.dim() == 1 else 0.3)
            parameter.copy_(changed.bfloat16())
    task.save(tmp_path, {}, 0)
    batch = load_data(data_folder, task.target, 64, 1.0).train.thinned(1)
    documents = batch.documents[0].tolist()
    anchors = [documents.index(1) + 6, documents.index(2) + 5, documents.index(2) + 9]
    with torch.no_grad():
        view = FrozenTarget(task.target, LAYERS)(batch)
        drafted, _ = task.drafted(batch, view, torch.tensor([anchors]))
    engine = Engine(load_model(chat_folder, dtype="float32", compile=False))
    for index, anchor in enumerate(anchors):
        start = documents.index(documents[anchor])
        prompt = batch.token_ids[0, start : anchor + 1].tolist()
        trace = trace_of(engine, prompt, mode="sd-block", draft=str(tmp_path), drafter=CHAIN)
        first = next(iter(trace.of_kind(Drafted)))
        assert first.token_ids[1:] == drafted[0, index].tolist()
    assert len({tuple(row) for row in drafted[0].tolist()}) == len(anchors)


def test_a_killed_training_of_a_block_drafter_goes_on_to_the_same_weights(
    chat_folder: str, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(out: Path) -> int:
        options = options_of(chat_folder, data_folder, out, 6)
        return train_block.main([*options, *SMALL, "--evaluate-every", "3"])

    assert train(tmp_path / "whole") == 0
    with monkeypatch.context() as patch:
        step_of = BlockTask.loss

        def killed(task: BlockTask, step: int) -> torch.Tensor:
            if step == 4:
                raise KeyboardInterrupt
            return step_of(task, step)

        patch.setattr(BlockTask, "loss", killed)
        assert train(tmp_path / "killed") == 130
    assert train(tmp_path / "killed") == 0
    whole, resumed = (
        torch.load(tmp_path / name / "checkpoint.pt", weights_only=True)["module"]
        for name in ("whole", "killed")
    )
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [("--block-size", "1", "2 to 32"), ("--draft-vocab", "1000", "1 to 192"),
     ("--feature-layers", "9", "0 to 3"), ("--distance-share", "2", "0.0 to 1.0")],
)  # fmt: skip
def test_bad_options_are_refused_in_a_sentence(
    chat_folder: str, data_folder: Path, tmp_path: Path, capsys, option: str, value: str, words: str
) -> None:
    options = [*options_of(chat_folder, data_folder, tmp_path, 5), *SMALL]
    assert train_block.main([*options, option, value]) == 2
    assert words in capsys.readouterr().err
