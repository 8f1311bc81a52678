"""The loop of both trainings: optimizer, schedule, clipping, evaluation, checkpoints, progress."""

import math
import os
import time
from pathlib import Path
from typing import Any, Protocol

import torch

from core.distributed.ranks import Rank, agree, average_gradients, wait_for_all
from core.errors import InvalidSettingError
from core.train.event_log import CurveLog
from core.train.loop_options import LoopSettings

_CLIP_NORM = 1.0
_BETAS = (0.9, 0.95)
_LOG_EVERY = 20


class Task(Protocol):
    """What is trained."""

    @property
    def module(self) -> torch.nn.Module: ...

    def loss(self, step: int) -> torch.Tensor:
        """The loss of this rank's batch of a step; a scalar."""
        ...

    def evaluate(self) -> dict[str, float]:
        """Figures on the held-out split."""
        ...

    def save(self, folder: Path, figures: dict[str, float], step: int) -> None:
        """Writes the weights in the form in which they are used."""
        ...


def learning_rate_share(progress: float, warmup_share: float) -> float:
    """Linear warm-up, then a cosine to a hundredth; `progress` runs from 0 to 1."""
    if progress < warmup_share:
        return max(progress / warmup_share, 1e-3)
    angle = math.pi * (progress - warmup_share) / (1.0 - warmup_share)
    return 0.01 + 0.99 * 0.5 * (1.0 + math.cos(min(angle, math.pi)))


def train(
    task: Task, settings: LoopSettings, out: Path, identity: dict[str, Any], rank: Rank
) -> dict[str, float]:
    """Trains to the end, from the folder's checkpoint where there is one; the last figures.

    `identity` says what is trained; a checkpoint of another one is refused.
    """
    loop = _Loop(task, settings, out, identity, rank)
    loop.resume()
    return loop.run()


class _Loop:
    def __init__(
        self,
        task: Task,
        settings: LoopSettings,
        out: Path,
        identity: dict[str, Any],
        rank: Rank,
    ):
        self._task = task
        self._settings = settings
        self._out = out
        self._identity = identity
        self._rank = rank
        self._parameters = [p for p in task.module.parameters() if p.requires_grad]
        self._optimizer = torch.optim.AdamW(
            self._parameters,
            lr=settings.learning_rate,
            betas=_BETAS,
            weight_decay=settings.weight_decay,
            fused=rank.device.type == "cuda",
        )
        self._step = 0
        self._spent_s = 0.0
        out.mkdir(parents=True, exist_ok=True)
        self._log = CurveLog(out / "curves") if rank.is_first else None

    @property
    def _checkpoint(self) -> Path:
        return self._out / "checkpoint.pt"

    def resume(self) -> None:
        """Goes on from the checkpoint; raises InvalidSettingError for one of another training."""
        if not self._checkpoint.exists():
            return
        try:
            state = torch.load(self._checkpoint, map_location=self._rank.device, weights_only=True)
        except Exception as error:  # broken files raise whatever comes
            raise InvalidSettingError(
                f"{self._checkpoint} is broken ({type(error).__name__}); delete it to start anew."
            ) from error
        if state["identity"] != self._identity:
            changed = [
                key for key in self._identity if state["identity"].get(key) != self._identity[key]
            ]
            raise InvalidSettingError(
                f"{self._out} holds a training of other settings ({', '.join(changed)}); give "
                "another folder, or the same settings to go on."
            )
        self._task.module.load_state_dict(state["module"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._step, self._spent_s = state["step"], state["spent_s"]
        self._say(f"goes on at step {self._step}")

    def _save_checkpoint(self) -> None:
        wait_for_all(self._rank)
        if not self._rank.is_first:
            return
        temporary = self._checkpoint.with_name(f"checkpoint.{os.getpid()}.part")
        state = {
            "identity": self._identity,
            "module": self._task.module.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "step": self._step,
            "spent_s": self._spent_s,
        }
        try:
            torch.save(state, temporary)
            temporary.replace(self._checkpoint)
        finally:  # a full disk keeps the last checkpoint, and no half one beside it
            temporary.unlink(missing_ok=True)

    def _say(self, text: str) -> None:
        if self._rank.is_first:
            print(text, flush=True)

    def run(self) -> dict[str, float]:
        settings, started = self._settings, time.monotonic() - self._spent_s
        losses: list[torch.Tensor] = []
        figures: dict[str, float] = {}
        is_done = False
        while not is_done:
            self._spent_s = time.monotonic() - started
            progress = self._progress()
            share = learning_rate_share(progress, settings.warmup_share)
            for group in self._optimizer.param_groups:
                group["lr"] = settings.learning_rate * share
            losses.append(self._one_step())
            self._step += 1
            is_done = self._step >= settings.steps or progress >= 1.0
            is_told = self._step % _LOG_EVERY == 0 or is_done
            is_judged = self._step % settings.evaluate_every == 0 or is_done
            loss = self._checked(losses) if is_told or is_judged else 0.0
            if is_told:
                self._report(loss, share, progress)
                losses.clear()
            if is_judged:
                figures = self._evaluate()
        return figures

    def _progress(self) -> float:
        """From 0 to 1, by steps or by time, whichever is nearer to its end."""
        settings = self._settings
        progress = self._step / settings.steps
        if settings.minutes:
            progress = max(progress, self._spent_s / (settings.minutes * 60))
        return agree(min(progress, 1.0), self._rank)

    def _one_step(self) -> torch.Tensor:
        loss = self._task.loss(self._step)
        loss.backward()
        average_gradients(self._parameters, self._rank)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters, _CLIP_NORM)
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)
        # After a gradient of no numbers the weights are none, and nobody may save them.
        return torch.where(norm.isfinite(), loss.detach(), torch.nan)

    def _checked(self, losses: list[torch.Tensor]) -> float:
        """The mean loss; raises InvalidSettingError where it is no number, before weights are kept."""
        loss = torch.stack(losses).mean().item()
        if not math.isfinite(loss):
            raise InvalidSettingError(
                f"the loss is {loss} at step {self._step}; start anew with a lower learning rate."
            )
        return loss

    def _report(self, loss: float, share: float, progress: float) -> None:
        left_s = self._spent_s / max(progress, 1e-6) * (1.0 - progress)
        self._say(
            f"step {self._step}: loss {loss:.4f}, {progress:.0%}, "
            f"{int(left_s) // 60}:{int(left_s) % 60:02d} left"
        )
        if self._log is not None:
            rate = self._settings.learning_rate * share
            self._log.add(self._step, {"loss": loss, "learning rate": rate})

    def _evaluate(self) -> dict[str, float]:
        figures = self._task.evaluate()
        self._say(
            f"step {self._step}, held out: "
            + ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
        )
        if self._log is not None:
            self._log.add(self._step, figures)
            self._log.draw()
            self._task.save(self._out, figures, self._step)
        self._save_checkpoint()
        return figures
