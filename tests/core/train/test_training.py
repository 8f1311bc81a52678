"""Training on a CPU: the loss falls, a head learnt by heart drafts, a killed training goes on."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from core.engine import Engine
from core.errors import DrafterUnavailableError
from core.loading.loading import load_model
from core.train import train_draft, train_eagle
from core.train.draft_task import DraftTask
from tests.core.conftest import run
from tests.core.families.family_configs import random_module
from tests.core.train.conftest import write_answers, write_chat_model


def losses_of(out: Path) -> list[float]:
    with (out / "curves" / "curve.csv").open(newline="", encoding="utf-8") as file:
        return [float(row["value"]) for row in csv.DictReader(file) if row["tag"] == "loss"]


def options_of(chat_folder: str, data_folder: Path, out: Path, steps: int) -> list[str]:
    return [
        "--target", chat_folder, "--data", str(data_folder), "--out", str(out),
        "--steps", str(steps), "--rows", "2", "--row-length", "64", "--evaluate-every", "1000",
        "--learning-rate", "5e-3",
    ]  # fmt: skip


@pytest.fixture(scope="module", params=["float32", "bfloat16"])
def head_folder(
    request: pytest.FixtureRequest,
    chat_folder: str,
    data_folder: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """Trained in each number format, whichever the processor would choose."""
    out = tmp_path_factory.mktemp("head")
    options = [*options_of(chat_folder, data_folder, out, 240), "--dtype", request.param]
    assert train_eagle.main([*options, "--depth", "3", "--draft-vocab", "100"]) == 0
    return out


def test_a_head_that_learnt_a_text_by_heart_drafts_it(chat_folder: str, head_folder: Path) -> None:
    losses = losses_of(head_folder)
    assert losses[-1] < losses[0]
    engine = Engine(load_model(chat_folder, dtype="float32", compile=False))
    prompt = engine.target.tokenizer.decode([181, 84, 10, 11, 12, 180, 181, 64])
    plain = run(engine, prompt, max_new_tokens=24)
    for branching in (1, 3):
        shape = {"branching": branching, "depth": 4, "fixed_size": True}
        trace = run(
            engine, prompt, max_new_tokens=24, mode="sd-eagle", draft=str(head_folder),
            drafter=shape,
        )  # fmt: skip
        assert trace.token_ids == plain.token_ids
        assert trace.stats.acceptance_length > 2.0


@pytest.mark.parametrize("family", ["gemma2", "gpt_oss"])
def test_a_head_for_windows_caps_and_experts_drafts_more_than_an_untrained_one(
    family: str, tmp_path: Path
) -> None:
    chat_folder = write_chat_model(tmp_path / "chat", random_module(family))
    data_folder = write_answers(tmp_path / "data", chat_folder)
    engine = Engine(load_model(chat_folder, dtype="float32", compile=False))
    prompt = engine.target.tokenizer.decode([181, 84, 10, 11, 12, 180, 181, 64])
    expected = run(engine, prompt, max_new_tokens=24).token_ids
    lengths = []
    for steps, rate in ((1, "1e-8"), (160, "5e-3")):
        out = tmp_path / f"{steps} steps"
        options = options_of(chat_folder, data_folder, out, steps)
        options += ["--learning-rate", rate, "--depth", "3", "--draft-vocab", "100"]
        assert train_eagle.main(options) == 0
        shape = {"branching": 1, "depth": 4, "fixed_size": True}
        trace = run(
            engine, prompt, max_new_tokens=24, mode="sd-eagle", draft=str(out), drafter=shape
        )
        assert trace.token_ids == expected
        lengths.append(trace.stats.acceptance_length)
    assert lengths[0] < 1.5 and lengths[1] > 2.0, lengths


def test_a_target_that_only_transformers_computes_is_refused_in_a_sentence(
    data_folder: Path, tmp_path: Path, capsys
) -> None:
    gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=192, n_embd=32, n_head=2, n_layer=2))
    chat_folder = write_chat_model(tmp_path / "chat", gpt2)
    assert train_eagle.main(options_of(chat_folder, data_folder, tmp_path / "out", 5)) == 2
    assert "cannot be trained for this target: gpt2 is not one of" in capsys.readouterr().err


def test_a_head_of_another_target_is_refused_with_a_sentence(
    tiny_home: Path, head_folder: Path
) -> None:
    engine = Engine(load_model(str(tiny_home / "draft"), dtype="float32", compile=False))
    with pytest.raises(DrafterUnavailableError, match="trained for another target"):
        run(engine, mode="sd-eagle", draft=str(head_folder))


def test_without_a_head_the_mode_says_where_to_get_one(tiny_home: Path) -> None:
    engine = Engine(load_model(str(tiny_home / "target"), dtype="float32", compile=False))
    with pytest.raises(DrafterUnavailableError, match="no EAGLE head is shipped"):
        run(engine, mode="sd-eagle")


def test_a_killed_training_goes_on_to_the_same_weights(
    chat_folder: str, data_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def train(out: Path) -> int:
        options = options_of(chat_folder, data_folder, out, 12)
        options += ["--evaluate-every", "6", "--hidden-size", "32", "--num-layers", "1"]
        return train_draft.main(options)

    assert train(tmp_path / "whole") == 0
    with monkeypatch.context() as patch:
        step_of = DraftTask.loss

        def killed(task, step: int) -> torch.Tensor:
            if step == 8:
                raise KeyboardInterrupt
            return step_of(task, step)

        patch.setattr(DraftTask, "loss", killed)
        assert train(tmp_path / "killed") == 130
    assert train(tmp_path / "killed") == 0
    whole, resumed = (
        load_model(str(tmp_path / name), dtype="float32", compile=False).module.state_dict()
        for name in ("whole", "killed")
    )
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


@pytest.mark.parametrize("what", ["loss", "gradient"])
def test_a_loss_that_is_no_number_ends_the_training_before_its_weights_are_kept(
    what: str, chat_folder: str, data_folder: Path, tmp_path: Path, capsys,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    loss_of = DraftTask.loss

    def broken(task, step: int) -> torch.Tensor:
        loss = loss_of(task, step)
        if step != 3:
            return loss
        if what == "loss":
            return loss * torch.nan
        # The root of zero has no slope.
        return loss + (loss - loss.detach()).clamp(min=0.0).sqrt()

    monkeypatch.setattr(DraftTask, "loss", broken)
    options = [*options_of(chat_folder, data_folder, tmp_path, 8), "--evaluate-every", "2"]
    assert train_draft.main([*options, "--hidden-size", "32", "--num-layers", "1"]) == 2
    told = capsys.readouterr().err
    assert told.endswith("the loss is nan at step 4; start anew with a lower learning rate.\n")
    kept = load_model(str(tmp_path), dtype="float32", compile=False).module.state_dict()
    assert all(bool(weight.isfinite().all()) for weight in kept.values())


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_small_model_learns_and_is_loaded_as_a_draft(
    dtype: str, chat_folder: str, data_folder: Path, tmp_path: Path
) -> None:
    options = [*options_of(chat_folder, data_folder, tmp_path, 120), "--dtype", dtype]
    assert train_draft.main([*options, "--hidden-size", "64", "--num-layers", "1"]) == 0
    losses = losses_of(tmp_path)
    assert losses[-1] < losses[0]
    engine = Engine(load_model(chat_folder, dtype="float32", compile=False))
    settings = {"depth": 3, "fixed_size": True}
    trace = run(engine, mode="sd-classic", draft=str(tmp_path), drafter=settings)
    assert trace.token_ids == run(engine).token_ids


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [("--steps", "0", "at least 1"), ("--draft-vocab", "1000", "1 to 192"),
     ("--feature-layers", "9", "0 to 3"), ("--learning-rate", "7", "1e-08 to 1.0")],
)  # fmt: skip
def test_bad_options_are_refused_in_a_sentence(
    chat_folder: str, data_folder: Path, tmp_path: Path, capsys, option: str, value: str, words: str
) -> None:
    options = options_of(chat_folder, data_folder, tmp_path, 5)
    assert train_eagle.main([*options, option, value]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train_eagle", "train_draft", "train_block"])
def test_two_processes_train_one_model_together(
    command: str, chat_folder: str, data_folder: Path, tmp_path: Path
) -> None:
    options = options_of(chat_folder, data_folder, tmp_path / "out", 6)
    options += {
        "train_eagle": ["--depth", "2", "--draft-vocab", "100"],
        "train_draft": ["--hidden-size", "32", "--num-layers", "1"],
        "train_block": ["--block-size", "3", "--draft-vocab", "100", "--anchors", "8"],
    }[command]
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launch, "-m", f"core.train.{command}", *options],
        cwd=Path(__file__).parents[3],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert len(losses_of(tmp_path / "out")) > 0
    assert list((tmp_path / "out").glob("model*.safetensors"))
