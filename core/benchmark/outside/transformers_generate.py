"""transformers' own `generate` on a loaded model: plain, prompt lookup and assisted."""

import time
from collections.abc import Callable
from typing import Any

import torch

from core.benchmark.measurement import Answer, Emission
from core.config import RunConfig, SamplingConfig
from core.decoding.run_start import Prompt
from core.loading.loading import LoadedModel

# The value that transformers' own examples use.
LOOKUP_TOKENS = 10


class _EmissionClock:
    """The streamer of one answer: notes when how many tokens came. The prompt comes first."""

    def __init__(self, clock: Callable[[], float]):
        self.emissions: list[Emission] = []
        self._clock = clock
        self._start_s = clock()
        self._has_prompt = False

    def put(
        self,
        token_ids: torch.Tensor,  # [new] or [1, new]
    ) -> None:
        """Called by `generate` with the prompt, then with the tokens of each step."""
        if self._has_prompt:
            self.emissions.append(Emission(self._clock() - self._start_s, token_ids.numel()))
        self._has_prompt = True

    def end(self) -> None:
        """Called by `generate` behind the last token."""


class TransformersRunner:
    """Answers one prompt after the other; runs in a process of its own."""

    def __init__(
        self,
        label: str,
        target: LoadedModel,
        config: RunConfig,
        *,
        clock: Callable[[], float] = time.perf_counter,
        **extra: Any,
    ):
        """`extra` goes to `generate`; length, end and sampling are those of `config`."""
        self.label = label
        self._target = target
        self._module = target.module  # read before anything is timed
        self._settings = _generation_settings(target, config)
        self._seed = config.sampling.seed
        self._clock = clock
        self._extra = extra

    def answer(self, prompt: Prompt) -> Answer:
        """The whole answer; a failure is told in it."""
        prompt_ids = torch.tensor([prompt.token_ids], device=self._target.device)  # [1, prompt]
        torch.manual_seed(self._seed)
        start_s = self._clock()
        streamer = _EmissionClock(self._clock)
        try:
            output = self._module.generate(
                prompt_ids,
                attention_mask=torch.ones_like(prompt_ids),
                streamer=streamer,
                **self._settings,
                **self._extra,
            )
        except Exception as error:  # another program's failure is a row of the comparison
            return Answer(error=f"{type(error).__name__}: {error}")
        total_s = self._clock() - start_s
        token_ids: list[int] = output[0, len(prompt.token_ids) :].tolist()
        return Answer(
            token_ids=token_ids,
            text=self._target.tokenizer.decode(token_ids, skip_special_tokens=True),
            emissions=streamer.emissions,
            total_s=total_s,
        )


def _generation_settings(target: LoadedModel, config: RunConfig) -> dict[str, Any]:
    """Our settings in transformers' words; a model's own habits (penalties) are put aside."""
    ends = sorted(target.eos_token_ids)
    return {
        "max_new_tokens": config.max_new_tokens,
        "eos_token_id": ends or None,
        "pad_token_id": ends[0] if ends else 0,
        "repetition_penalty": 1.0,
        **_sampling_settings(config.sampling),
    }


def _sampling_settings(sampling: SamplingConfig) -> dict[str, Any]:
    if sampling.is_greedy:
        return {"do_sample": False, "temperature": None, "top_k": None, "top_p": None}
    return {
        "do_sample": True,
        "temperature": sampling.temperature,
        "top_k": sampling.top_k,
        "top_p": sampling.top_p,
        "min_p": sampling.min_p or None,
    }


def transformers_runners(
    label: str,
    target: LoadedModel,
    config: RunConfig,
    draft: LoadedModel | None,
) -> list[TransformersRunner]:
    """Plain, prompt lookup and, where there is a draft model, assisted generation."""
    ways: list[tuple[str, dict[str, Any]]] = [
        (label, {}),
        (f"{label} lookup", {"prompt_lookup_num_tokens": LOOKUP_TOKENS}),
    ]
    if draft is not None:
        ways.append((f"{label} assisted", {"assistant_model": draft.module}))
    return [TransformersRunner(name, target, config, **extra) for name, extra in ways]
