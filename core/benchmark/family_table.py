"""What a step costs in the shapes of several families, with random weights made on the device.

Their text means nothing; what a token takes does not hang on it.
"""

import gc
import time
from collections.abc import Callable
from typing import Any

import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    LlamaConfig,
    MistralConfig,
    Phi3Config,
    PretrainedConfig,
)

from core.backends.runner import ModelRunner
from core.backends.torch.forward import TorchForward
from core.benchmark.gpu_tables import NUM_TOKENS, copy_bandwidth
from core.config import RunConfig
from core.decoding.batch import Single
from core.decoding.device.graph_runner_cache import GraphRunnerCache
from core.drafters.base import limits_of
from core.errors import InvalidSettingError
from core.loading.forward import make_runner
from core.runtime.strict_json import dumps

_PROMPT, _LONG = 256, 16_384
_WARM_UPS = 2
# As meta-llama/Llama-2-7b, google/gemma-2-9b, mistralai/Mistral-7B-v0.1 and microsoft/Phi-3-mini-4k, but
# for the longest text.
_COMMON: dict[str, Any] = {"max_position_embeddings": 2 * _LONG, "num_hidden_layers": 32}
SHAPES: dict[str, Callable[[], PretrainedConfig]] = {
    "Llama 2, 7B": lambda: LlamaConfig(
        **_COMMON, vocab_size=32_000, hidden_size=4096, intermediate_size=11_008,
        num_attention_heads=32,
    ),
    "Gemma 2, 9B": lambda: Gemma2Config(
        **{**_COMMON, "num_hidden_layers": 42}, vocab_size=256_000, hidden_size=3584,
        intermediate_size=14_336, num_attention_heads=16, num_key_value_heads=8, head_dim=256,
        sliding_window=4096,
    ),
    "Mistral, 7B, window": lambda: MistralConfig(
        **_COMMON, vocab_size=32_000, hidden_size=4096, intermediate_size=14_336,
        num_attention_heads=32, num_key_value_heads=8, sliding_window=4096,
    ),
    "Phi-3, 3.8B": lambda: Phi3Config(
        **_COMMON, vocab_size=32_064, hidden_size=3072, intermediate_size=8192,
        num_attention_heads=32, sliding_window=2047, pad_token_id=0,
    ),
}  # fmt: skip


def family_rows() -> list[dict[str, Any]]:
    """A row for each shape and length of the text before, in bfloat16; the first is the copy's.

    Raises InvalidSettingError where nothing is compiled.
    """
    graphs = GraphRunnerCache(frozenset(), compile=True)
    bandwidth = copy_bandwidth()
    rows = [{"what": "copy", "TB_s": round(bandwidth / 1e12, 3)}]
    for what, config in SHAPES.items():
        runner = _random_runner(config())
        assert isinstance(runner.forward, TorchForward), "all shapes are of our own families"
        num_bytes = runner.forward.stack.num_bytes
        limit_s = num_bytes / bandwidth
        for length in (_PROMPT, _LONG):
            curve = graphs.measure(runner, length).curve
            row: dict[str, Any] = {"what": what, "weights_GB": round(num_bytes / 1e9, 2)}
            row |= {"length": length, "forward_ms": round(curve(1) * 1e3, 3)}
            row["forward_of_limit"] = round(limit_s / curve(1), 3)
            row |= {f"times_one_{count}": round(curve(count) / curve(1), 2) for count in (8, 48)}
            if length == _PROMPT:
                step_s = _step_seconds(graphs, runner)
                row |= {
                    "tokens_per_s": round(1 / step_s, 1),
                    "of_limit": round(limit_s / step_s, 3),
                }
            rows.append(row)
            print(dumps(row), flush=True)
        del runner
        graphs = GraphRunnerCache(frozenset(), compile=True)
        gc.collect()
        torch.cuda.empty_cache()
    return rows


def _random_runner(config: PretrainedConfig) -> ModelRunner:
    torch.manual_seed(0)
    with torch.device("cuda"):
        module: Any = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)  # type: ignore[no-untyped-call]
    runner = make_runner(module.eval(), 2 * _LONG)
    if not isinstance(runner.forward, TorchForward):
        raise InvalidSettingError(f"our own forward does not compute {config.model_type}.")
    return runner


def _step_seconds(graphs: GraphRunnerCache, runner: ModelRunner) -> float:
    """Of plain decoding behind a prompt, as it goes in a run."""
    config = RunConfig.from_dict({"device": "cuda", "max_new_tokens": NUM_TOKENS})
    longest = _PROMPT + NUM_TOKENS
    prompt = torch.randint(0, runner.vocab_size, (_PROMPT,)).tolist()
    seconds = 0.0
    for _ in range(_WARM_UPS + 1):
        stepper = graphs.stepper(
            runner, None, config, longest, time.perf_counter, None, Single().wait
        )
        stepper.begin(prompt, longest, bool)
        root = prompt[-1]
        start = time.perf_counter()
        for remaining in range(NUM_TOKENS, 0, -1):
            stepper.launch(root, limits_of(remaining))
            root = stepper.result().emitted[-1]
        seconds = time.perf_counter() - start
        stepper.finish()
    return seconds / NUM_TOKENS
