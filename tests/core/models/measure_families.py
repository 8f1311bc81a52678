"""Speed of other families beside llama.cpp, on the same random files:
`python -m tests.core.models.measure_families --llama-cpp PYTHON [--types F16,Q8_0] [--shapes gemma3]`.

A model of random weights of each shape is written as a GGUF file with the default model's tokens, and
`core.benchmark.compare` measures it. Its text means nothing; what a token takes does not hang on it.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import torch
from gguf import LlamaFileType
from transformers import (
    AutoModelForCausalLM,
    Gemma3TextConfig,
    PhiConfig,
    Qwen3Config,
    Starcoder2Config,
)

from core.benchmark import compare
from core.models.gguf_index import open_gguf
from core.models.sources import find_model
from core.runtime.storage import no_progress
from tests.core.models.gguf_models import write_model

_COMMON: dict[str, Any] = {"max_position_embeddings": 8192, "pad_token_id": 0, "bos_token_id": 1}
# As google/gemma-3-270m and, cut in depth, Qwen/Qwen3-0.6B, microsoft/phi-1 and bigcode/starcoder2-3b,
# with fewer tokens.
SHAPES: dict[str, Any] = {
    "gemma3": lambda num_tokens: Gemma3TextConfig(
        **_COMMON, vocab_size=num_tokens, hidden_size=640, num_hidden_layers=18,
        num_attention_heads=4, num_key_value_heads=1, head_dim=256, intermediate_size=2048,
        sliding_window=512, query_pre_attn_scalar=256, eos_token_id=2,
    ),
    "qwen3": lambda num_tokens: Qwen3Config(
        **_COMMON, vocab_size=num_tokens, hidden_size=1024, num_hidden_layers=14,
        num_attention_heads=16, num_key_value_heads=8, head_dim=128, intermediate_size=3072,
        tie_word_embeddings=True, eos_token_id=2,
    ),
    "phi": lambda num_tokens: PhiConfig(
        **_COMMON, vocab_size=num_tokens, hidden_size=2048, num_hidden_layers=5,
        num_attention_heads=32, intermediate_size=8192, eos_token_id=2,
    ),
    "starcoder2": lambda num_tokens: Starcoder2Config(
        **_COMMON, vocab_size=num_tokens, hidden_size=3072, num_hidden_layers=3,
        num_attention_heads=24, num_key_value_heads=2, intermediate_size=12288,
        sliding_window=4096, tie_word_embeddings=True, eos_token_id=2,
    ),
}  # fmt: skip


def random_file(path: Path, shape: str, type_name: str) -> str:
    """A GGUF file of a shape with random weights and the default model's tokens."""
    default = find_model("smollm2-135m", no_progress).gguf
    assert default is not None, "the default model is one"
    told = open_gguf(default).metadata
    tokens = {key: value for key, value in told.items() if key.startswith("tokenizer.")}
    tokens["general.file_type"] = LlamaFileType[f"MOSTLY_{type_name}"].value
    config = SHAPES[shape](len(tokens["tokenizer.ggml.tokens"]))
    torch.manual_seed(0)
    module: Any = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # type: ignore[no-untyped-call]
    return write_model(path, module, tokens, type_name=type_name)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="tests.core.models.measure_families", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--llama-cpp", metavar="PYTHON", help="one that has llama-cpp-python")
    parser.add_argument("--types", default="F16,Q8_0", help="types of weights in the files, commas")
    parser.add_argument(
        "--shapes", default=",".join(SHAPES), help=f"of {', '.join(SHAPES)}, commas"
    )
    options = parser.parse_args()
    beside = ["--with", f"llama-cpp={options.llama_cpp}"] if options.llama_cpp else []
    with tempfile.TemporaryDirectory() as folder:
        for shape in options.shapes.split(","):
            for type_name in options.types.split(","):
                path = Path(folder) / f"{shape}-{type_name}.gguf"
                random_file(path, shape, type_name)
                compare.main(
                    ["--modes", "ngram", "--target", str(path), *beside, "--limit", "3",
                     "--max-new-tokens", "64"]
                )  # fmt: skip
                path.unlink()


if __name__ == "__main__":
    main()
