"""Writes tiny block drafters by their authors' own code, and what that code drafts with them.

Needs the environment of `make_eagle_heads.py`, whose target they draft for, and in it
`pip install --no-deps dflash==0.1.0`; specforge and speculators write DSpark. From the repository's
folder:

    TORCHDYNAMO_DISABLE=1 python -m tests.formats.make_block_drafters
"""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors.torch import save_file
from transformers import LlamaForCausalLM, Qwen3Config

from tests.formats.make_eagle_heads import (
    DRAFT_VOCAB,
    HIDDEN,
    LAYERS,
    PROMPT,
    SIZES,
    randomized,
    stored,
    vocabulary,
)
from tests.formats.make_eagle_heads import (
    FOLDER as EAGLE,
)

FOLDER = Path(__file__).parent / "block"
BLOCK, MASK, RANK = 5, 11, 8


def record(folder: Path, logits: torch.Tensor, d2t: torch.Tensor | None) -> None:
    """Writes down what a block's rows say, best tokens first  # logits: [drafts, vocab]."""
    probs, best = logits.softmax(-1).max(-1)
    drafted = best if d2t is None else best + d2t[best]
    found = {"prompt": PROMPT, "drafted": drafted.tolist(), "probs": probs.tolist()}
    (folder / "drafted.json").write_text(json.dumps(found) + "\n")
    print(folder.name, drafted.tolist(), [round(prob, 3) for prob in probs.tolist()])


def write(name: str, config: dict[str, Any], head: torch.nn.Module) -> Path:
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    save_file(stored(head.state_dict()), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    return folder


class Drafted(NamedTuple):
    """What a block drafter made behind the prompt."""

    folder: Path
    head: Any
    made: torch.Tensor  # [1, BLOCK, hidden]


def drafted(
    name: str, head_class: Any, architecture: str, target: Any, config: dict[str, Any], seed: int
) -> Drafted:
    """Of a class that takes the target's embedding: written, and run."""
    told = Qwen3Config(**config)
    told._attn_implementation = "sdpa"
    head = randomized(head_class(told), seed)
    folder = write(name, {"architectures": [architecture], "model_type": "qwen3", **config}, head)
    states = target(torch.tensor([PROMPT]), output_hidden_states=True).hidden_states
    context = torch.cat([states[layer + 1][:, :-1] for layer in head.target_layer_ids], dim=-1)
    block = torch.tensor([[PROMPT[-1], *[MASK] * (BLOCK - 1)]])
    made = head(
        target_hidden=context,
        noise_embedding=target.model.embed_tokens(block),
        position_ids=torch.arange(len(PROMPT) + BLOCK - 1)[None],
    )
    return Drafted(folder, head, made)


def make(name: str, head_class: Any, target: Any, config: dict[str, Any], seed: int) -> None:
    """With either of the two classes that take the target's embedding and output layer."""
    config = {**SIZES, "head_dim": 8, "rms_norm_eps": 1e-6, **config}
    folder, _, made = drafted(name, head_class, "DFlashDraftModel", target, config, seed)
    record(folder, target.lm_head(made[0, 1:]), None)


def speculators_settings(algorithm: str, num_drafts: int) -> dict[str, Any]:
    from speculators.config import SpeculatorsConfig, VerifierConfig
    from speculators.proposals.greedy import GreedyTokenProposalConfig

    layers = Qwen3Config(**{**SIZES, "num_hidden_layers": 2}, head_dim=16, rope_theta=3000.0)
    layers._attn_implementation = "eager"
    return {
        "transformer_layer_config": layers,
        "draft_vocab_size": DRAFT_VOCAB,
        "block_size": BLOCK,
        "mask_token_id": MASK,
        "aux_hidden_state_layer_ids": [1, 4, 6],
        "speculators_config": SpeculatorsConfig(
            algorithm=algorithm,
            proposal_methods=[GreedyTokenProposalConfig(speculative_tokens=num_drafts)],
            default_proposal_method="greedy",
            verifier=VerifierConfig(name_or_path=None, architectures=["LlamaForCausalLM"]),
        ),
    }


def speculators_block(
    core: Any, head: Any, target: Any, name: str, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Writes a head, and gives what its layers make of a block behind the prompt, with the logits.

    Its class computes blocks behind several anchors at once; one is behind the last token.
    """
    d2t, t2d = vocabulary()
    head.load_vocab_mappings(t2d, d2t)
    randomized(head, seed)
    head.embed_tokens.weight.copy_(target.model.embed_tokens.weight)
    deepcopy(head).bfloat16().save_pretrained(FOLDER / name)
    for path in (FOLDER / name).glob("*.py"):  # a copy of the package's own code
        path.unlink()
    anchor, length = len(PROMPT) - 1, len(PROMPT) + BLOCK
    core.select_anchors = lambda *rest: (torch.tensor([anchor]), torch.tensor([True]))
    states = target(torch.tensor([PROMPT]), output_hidden_states=True).hidden_states
    context = torch.zeros(1, length, 3 * HIDDEN)
    context[:, :anchor] = torch.cat([states[layer][:, :anchor] for layer in (1, 4, 6)], dim=-1)
    ids = torch.tensor([[*PROMPT, *[0] * BLOCK]])
    made, logits, *_ = head._backbone_forward(
        context, ids, torch.ones(1, length), torch.zeros(1, length, HIDDEN), torch.zeros_like(ids),
        max_anchors=1,
    )  # fmt: skip
    return made, logits[0]


def make_speculators(target: Any, name: str, seed: int) -> None:
    from speculators.models.dflash import core
    from speculators.models.dflash.config import DFlashSpeculatorConfig

    head = core.DFlashDraftModel(
        DFlashSpeculatorConfig(**speculators_settings("dflash", BLOCK - 1))
    )
    _, logits = speculators_block(core, head, target, name, seed)
    record(FOLDER / name, logits[1:], head.d2t)


def make_dspark(name: str, target: Any, kind: str, seed: int) -> None:
    """SpecForge trains every row to say what stands behind it, the root's the first one, and so do all
    that serve such drafters; its `spec_generate` alone reads the rows behind the root."""
    from specforge.modeling.draft.dspark import DSparkDraftModel

    config = {
        **SIZES, "head_dim": 8, "rms_norm_eps": 1e-6, "num_hidden_layers": 2, "block_size": BLOCK,
        "num_target_layers": LAYERS, "rope_theta": 1000.0,
        "dflash_config": {
            "projector_type": "dspark", "mask_token_id": MASK, "markov_rank": RANK,
            "markov_head_type": kind, "enable_confidence_head": True,
            "confidence_head_with_markov": True,
        },
    }  # fmt: skip
    architecture = "DSparkDraftModel"
    folder, head, made = drafted(name, DSparkDraftModel, architecture, target, config, seed)
    _, logits = head.markov_head.sample_block_tokens(
        target.lm_head(made), first_prev_token_ids=torch.tensor(PROMPT[-1:]), hidden_states=made
    )
    record(folder, logits[0], None)


def make_speculators_dspark(target: Any, name: str, kind: str, seed: int) -> None:
    """Its head gives the correction of a whole block; tokens are chosen from left to right."""
    from speculators.models.dflash import core
    from speculators.models.dspark.config import DSparkSpeculatorConfig
    from speculators.models.dspark.core import DSparkDraftModel

    config = DSparkSpeculatorConfig(
        **speculators_settings("dspark", BLOCK), markov_rank=RANK, markov_head_type=kind
    )
    head = DSparkDraftModel(config)
    made, logits = speculators_block(core, head, target, name, seed)
    block = [PROMPT[-1]]
    for row in range(BLOCK):
        tokens = torch.tensor([[*block, *[0] * (BLOCK - len(block))]])
        bias = head.markov_head.block_bias(prev_token_ids=tokens, hidden_states=made)
        corrected = logits + bias[0]
        best = int(corrected[row].argmax())
        block.append(best + int(head.d2t[best]))
    record(FOLDER / name, corrected, head.d2t)


def main() -> None:
    from dflash.model import DFlashDraftModel
    from specforge.modeling.draft.dflash import DFlashDraftModel as SpecForgeModel

    target = LlamaForCausalLM.from_pretrained(EAGLE / "target", dtype=torch.float32)
    target = target.eval().requires_grad_(False)
    make(
        "z-lab", DFlashDraftModel, target,
        {
            "num_hidden_layers": 3, "block_size": BLOCK, "num_target_layers": LAYERS,
            "rope_theta": 1e6, "attention_bias": False,
            "dflash_config": {"mask_token_id": MASK, "target_layer_ids": [0, 3, 6]},
        }, 1,
    )  # fmt: skip
    make(
        "specforge", SpecForgeModel, target,
        {
            "num_hidden_layers": 2, "block_size": BLOCK, "num_target_layers": LAYERS,
            "rope_theta": 1000.0, "attention_bias": True, "dflash_config": {"mask_token_id": MASK},
        }, 2,
    )  # fmt: skip
    make_speculators(target, "speculators", 3)
    for seed, kind in enumerate(("vanilla", "gated", "rnn"), 4):
        make_dspark(f"specforge-dspark-{kind}", target, kind, seed)
        make_speculators_dspark(target, f"speculators-dspark-{kind}", kind, seed + 3)


if __name__ == "__main__":
    main()
