"""Writes tiny heads of Medusa and Hydra by their authors' own code, and what that code drafts with them.

Needs the environment of `make_eagle_heads.py`, whose target they draft for, in it
`pip install --no-deps medusa-llm==0.1`, and a checkout of https://github.com/zankner/Hydra at 3f39fbd.
From the repository's folder:

    python -m tests.formats.make_medusa_heads --hydra CHECKOUT
"""

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from tests.formats.make_eagle_heads import FOLDER as EAGLE
from tests.formats.make_eagle_heads import PROMPT, randomized, stored
from tests.tiny_folder import byte_tokenizer

FOLDER = Path(__file__).parent / "medusa"
NUM_HEADS = 3


class _OlderConfig(LlamaConfig):
    """As Hydra's classes know them: a rotation is told by what scales it alone."""

    rope_scaling = None


def record(folder: Path, logits_of: Callable[[list[int]], torch.Tensor]) -> None:
    """Writes down what each head finds best, behind what those before it found  # logits: [vocab]."""
    drafted: list[int] = []
    probs = []
    for _ in range(NUM_HEADS):
        chances = logits_of(drafted).softmax(-1)
        drafted.append(int(chances.argmax()))
        probs.append(float(chances.max()))
    found = {"prompt": PROMPT, "drafted": drafted, "probs": probs}
    (folder / "drafted.json").write_text(json.dumps(found) + "\n")
    print(folder.name, drafted, [round(prob, 3) for prob in probs])


def write(name: str, file: str, tensors: dict[str, torch.Tensor], config: dict[str, Any]) -> Path:
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(stored(tensors), folder / file)
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    return folder


def make_medusa(target: Any, named: Path, name: str, num_layers: int, seed: int) -> None:
    """Two heads in its configuration, as in uploaded ones, and three in its file."""
    from medusa.model.medusa_model import MedusaModel

    model = MedusaModel(target, NUM_HEADS, num_layers, str(named))
    randomized(model.medusa_head, seed)
    config = {
        "base_model_name_or_path": str(named.name), "medusa_num_heads": 2,
        "medusa_num_layers": num_layers, "transformers_version": "4.31.0",
    }  # fmt: skip
    folder = write(name, "medusa_lm_head.pt", model.medusa_head.state_dict(), config)
    logits = model(torch.tensor([PROMPT[:-1]]))
    record(folder, lambda drafted: logits[len(drafted), 0, -1])


def make_hydra(target: Any, name: str, seed: int, **told: Any) -> None:
    """Its training forward computes all heads over known tokens; those behind the drafted ones are
    read by none of the heads that count."""
    from hydra.model.hydra_heads.mlp_head import HydraMLP
    from hydra.model.hydra_heads.prefix_mlp_head import HydraPrefixMLP

    kind = {"mlp": HydraMLP, "prefix-mlp": HydraPrefixMLP}[told["hydra_head_arch"]]
    head = kind(
        told["hydra_num_layers"], NUM_HEADS, told["grounded_heads"], target.model.embed_tokens,
        _OlderConfig(**target.config.to_dict(), attn_implementation="eager"),
    )  # fmt: skip
    kept = target.model.embed_tokens.weight.clone()
    randomized(head, seed)
    target.model.embed_tokens.weight.copy_(kept)
    config = {
        "base_model_name_or_path": "target", "hydra_num_heads": NUM_HEADS,
        "transformers_version": "4.31.0", **told,
    }  # fmt: skip
    folder = write(name, "hydra_lm_head.pt", head.state_dict(), config)
    offset, last = told.get("hidden_state_offset", 0), len(PROMPT) - 2

    def logits_of(drafted: list[int]) -> torch.Tensor:
        ids = torch.tensor([[*PROMPT, *drafted, 0, 0, 0, 0]])
        states = target(ids, output_hidden_states=True).hidden_states[-(offset + 1)]
        more = (
            {"position_ids": torch.arange(ids.shape[1])[None]}
            if "prefix" in kind.__module__
            else {}
        )
        logits, _ = head(base_hidden_states=states, input_ids=ids, **more)
        return logits[len(drafted)][0, last]

    record(folder, logits_of)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hydra", type=Path, required=True, help="checkout of zankner/Hydra")
    sys.path.insert(0, str(parser.parse_args().hydra))
    target = LlamaForCausalLM.from_pretrained(EAGLE / "target", dtype=torch.float32)
    target = target.eval().requires_grad_(False)
    with TemporaryDirectory() as parent:
        named = Path(parent) / "target"
        shutil.copytree(EAGLE / "target", named)
        byte_tokenizer().save_pretrained(named)
        make_medusa(target, named, "medusa", 1, 1)
        make_medusa(target, named, "medusa-two-layers", 2, 2)
    make_hydra(
        target, "hydra", 3, hydra_head_arch="mlp", hydra_num_layers=2, grounded_heads=True
    )  # fmt: skip
    make_hydra(
        target, "hydra-prefix", 4, hydra_head_arch="prefix-mlp", hydra_num_layers=2,
        grounded_heads=True,
    )  # fmt: skip
    make_hydra(
        target, "hydra-ungrounded", 5, hydra_head_arch="mlp", hydra_num_layers=1,
        grounded_heads=False, hidden_state_offset=2,
    )  # fmt: skip


if __name__ == "__main__":
    main()
