"""Writes tiny EAGLE heads by their authors' own code, and what that code drafts with them.

Needs an environment of its own with torch and transformers, in which these are installed:

    pip install --no-deps speculators==0.9.0 specforge==0.2.0 hs-connectors==0.9.0
    pip install loguru pydantic-settings datasets openai

and a checkout of https://github.com/SafeAILab/EAGLE at cb7e084. From the repository's folder:

    TORCHDYNAMO_DISABLE=1 python tests/formats/make_eagle_heads.py --eagle CHECKOUT

A head's folder holds its files and `drafted.json`: greedy drafts behind a prompt, and how probable the
head finds each. Weights are in bfloat16, and the arithmetic is in float32.
"""

import argparse
import json
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import LlamaConfig, LlamaForCausalLM, Qwen3Config

FOLDER = Path(__file__).parent / "eagle"
VOCAB, DRAFT_VOCAB, HIDDEN, LAYERS = 192, 64, 32, 8
PROMPT = [75, 14, 3, 99, 120, 42, 7, 150, 33, 61, 18, 88]
COUNT = 4
DEFAULT_LAYERS = (2, 4, 5)
# Of a folder: the target's states and the tokens behind them, to the logits of the last row. What the
# function keeps between calls is its own; a later call has one more token and no states.
Draft = Callable[[torch.Tensor, list[int]], torch.Tensor]
IDS = "eagle_aux_hidden_state_layer_ids"
SIZES = {
    "hidden_size": HIDDEN, "intermediate_size": 48, "num_attention_heads": 4,
    "num_key_value_heads": 2, "num_hidden_layers": 1, "vocab_size": VOCAB,
    "max_position_embeddings": 512, "hidden_act": "silu", "tie_word_embeddings": False,
}  # fmt: skip


def randomized(module: torch.nn.Module, seed: int) -> Any:
    """In evaluation mode, with weights that bfloat16 holds."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.3, generator=generator)
        else:
            torch.nn.init.uniform_(parameter, 0.5, 1.5, generator=generator)
        parameter.data = parameter.data.bfloat16().float()
    return module.eval().requires_grad_(False)


def vocabulary() -> tuple[torch.Tensor, torch.Tensor]:
    """d2t and t2d of every third id."""
    ids = torch.arange(DRAFT_VOCAB) * 3
    is_there = torch.zeros(VOCAB, dtype=torch.bool)
    is_there[ids] = True
    return ids - torch.arange(DRAFT_VOCAB), is_there


def with_vocabulary(head: Any) -> Any:
    d2t, t2d = vocabulary()
    head.d2t.copy_(d2t)
    head.t2d.copy_(t2d)
    return head


def stored(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {
        name: (tensor.bfloat16() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in tensors.items()
    }


def write(
    name: str, config: dict[str, Any], tensors: dict[str, torch.Tensor], *, pickled: bool = False
) -> Path:
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    if pickled:
        torch.save(stored(tensors), folder / "pytorch_model.bin")
    else:
        save_file(stored(tensors), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    return folder


class Target:
    """The model that the heads draft for."""

    def __init__(self) -> None:
        config = LlamaConfig(**{**SIZES, "num_hidden_layers": LAYERS})
        self.module = randomized(LlamaForCausalLM(config), 0)
        self.module.config.eos_token_id = self.module.generation_config.eos_token_id = 180
        states = self.module(torch.tensor([PROMPT]), output_hidden_states=True).hidden_states
        self.states = [state[:, :-1] for state in states]

    def save(self) -> None:
        folder = FOLDER / "target"
        deepcopy(self.module).bfloat16().save_pretrained(folder)

    def features(self, layers: tuple[int, ...]) -> torch.Tensor:
        """States in front of the layers, of all tokens but the last  # [1, length, features]."""
        return torch.cat([self.states[layer] for layer in layers], dim=-1)


def record(folder: Path, features: torch.Tensor, draft: Draft, d2t: torch.Tensor | None) -> None:
    """Drafts greedily and writes down what came of it."""
    tokens, drafted, probs = PROMPT[1:], [], []
    for _ in range(COUNT):
        chances = draft(features, tokens).softmax(-1)
        best = int(chances.argmax())
        probs.append(float(chances[best]))
        drafted.append(best if d2t is None else best + int(d2t[best]))
        tokens = [*tokens, drafted[-1]]
    found = {"prompt": PROMPT, "drafted": drafted, "probs": probs}
    (folder / "drafted.json").write_text(json.dumps(found) + "\n")
    print(folder.name, drafted, [round(prob, 3) for prob in probs])


def safeai_config(config: dict[str, Any]) -> Any:
    """What their classes read of one; transformers' own would add a rotation that is not in it."""
    return SimpleNamespace(rope_scaling=None, pad_token_id=None, pretraining_tp=1, **config)


def safeai_draft(head: Any, output: Callable[[torch.Tensor], torch.Tensor]) -> Draft:
    """As `topK_genrate` of both forms goes on, with one child a node."""
    cache, last = None, None

    def draft(features: torch.Tensor, tokens: list[int]) -> torch.Tensor:
        nonlocal cache, last
        states = features if last is None else last
        ids = torch.tensor([tokens[-states.shape[1] :]])
        made, cache = head(states, input_ids=ids, past_key_values=cache, use_cache=True)
        last = made[:, -1:]
        return output(last)[0, 0]

    return draft


def make_safeai3(target: Target, name: str, more: dict[str, Any], seed: int) -> None:
    from eagle.model.cnets import Model

    config = {**SIZES, "rms_norm_eps": 1e-5, "draft_vocab_size": DRAFT_VOCAB, **more}
    head = with_vocabulary(randomized(Model(safeai_config(config)), seed))
    tensors = head.state_dict()
    if "target_hidden_size" not in more:
        head.embed_tokens.weight.copy_(target.module.model.embed_tokens.weight)
        del tensors["embed_tokens.weight"]
    told = {"architectures": ["LlamaForCausalLMEagle3"], "model_type": "llama", **config}
    folder = write(name, told, tensors)
    draft = safeai_draft(head, lambda state: head.lm_head(head.norm(state)))
    record(folder, target.features(DEFAULT_LAYERS), draft, head.d2t)


def make_safeai1(target: Target, name: str, more: dict[str, Any], seed: int) -> None:
    from eagle.model.cnets1 import Model

    config = {**SIZES, "rms_norm_eps": 1e-6, **more}
    head = randomized(Model(safeai_config(config), bias=more.get("bias", True)), seed)
    head.embed_tokens.weight.copy_(target.module.model.embed_tokens.weight)
    told = {"architectures": ["LlamaForCausalLM"], "model_type": "llama", **config}
    folder = write(name, told, head.state_dict(), pickled=True)
    record(folder, target.states[LAYERS], safeai_draft(head, target.module.lm_head), None)


def make_specforge(
    target: Target, name: str, more: dict[str, Any], layers: tuple[int, ...], seed: int
) -> None:
    from specforge.modeling.draft.llama3_eagle import (
        LlamaForCausalLMEagle3,
        prepare_decoder_attention_mask,
    )

    config = {
        **SIZES,
        "rms_norm_eps": 1e-5,
        "draft_vocab_size": DRAFT_VOCAB,
        "head_dim": 16,
        **more,
    }
    head = LlamaForCausalLMEagle3(LlamaConfig(**config, pad_token_id=0))
    head = with_vocabulary(randomized(head, seed))
    told = {"architectures": ["LlamaForCausalLMEagle3"], "model_type": "llama", **config}
    folder = write(name, told, head.state_dict())
    caches: list[Any] = [[], []]
    last = None

    def draft(features: torch.Tensor, tokens: list[int]) -> torch.Tensor:
        nonlocal last
        length = features.shape[1]
        mask = prepare_decoder_attention_mask(torch.ones(1, length), (1, length), features, 0)
        states = head.project_hidden_states(features) if last is None else last
        last = head.backbone(
            head.embed_input_ids(torch.tensor([tokens[-length:]])), states, caches, mask,
            torch.arange(length)[None],
        )  # fmt: skip
        return head.compute_logits(last[:, -1])[0]

    record(folder, target.features(layers), draft, head.d2t)


def speculators_head(
    name: str,
    algorithm: str,
    layer_config: Any,
    layers: tuple[int, ...] | None,
    seed: int,
    **more: Any,
) -> Any:
    """One of `speculators`, saved by itself."""
    from speculators.config import SpeculatorsConfig, VerifierConfig
    from speculators.models.eagle3 import Eagle3DraftModel, Eagle3SpeculatorConfig
    from speculators.models.peagle.config import PEagleSpeculatorConfig
    from speculators.models.peagle.core import PEagleDraftModel
    from speculators.proposals.greedy import GreedyTokenProposalConfig

    layer_config._attn_implementation = "eager"
    config_class, head_class = {
        "eagle3": (Eagle3SpeculatorConfig, Eagle3DraftModel),
        "peagle": (PEagleSpeculatorConfig, PEagleDraftModel),
    }[algorithm]
    config = config_class(
        transformer_layer_config=layer_config,
        draft_vocab_size=DRAFT_VOCAB,
        eagle_aux_hidden_state_layer_ids=None if layers is None else list(layers),
        speculators_config=SpeculatorsConfig(
            algorithm=algorithm,
            proposal_methods=[GreedyTokenProposalConfig(speculative_tokens=COUNT)],
            default_proposal_method="greedy",
            verifier=VerifierConfig(name_or_path=None, architectures=["LlamaForCausalLM"]),
        ),
        **more,
    )
    head = head_class(config)
    d2t, t2d = vocabulary()
    head.load_vocab_mappings(t2d, d2t)
    randomized(head, seed)
    deepcopy(head).bfloat16().save_pretrained(FOLDER / name)  # its own rotation stays in float32
    for path in (FOLDER / name).glob("*.py"):  # a copy of the package's own code
        path.unlink()
    return head


def make_speculators(
    target: Target,
    name: str,
    layer_config: Any,
    layers: tuple[int, ...] | None,
    seed: int,
    **more: Any,
) -> None:
    head = speculators_head(name, "eagle3", layer_config, layers, seed, **more)
    made: list[torch.Tensor] = []
    head.lm_head.register_forward_hook(lambda module, given, out: made.append(out))

    def draft(features: torch.Tensor, tokens: list[int]) -> torch.Tensor:
        """Rows behind the last one are seen by none of those that count."""
        length, steps = features.shape[1], len(tokens) - features.shape[1] + 1
        behind = features.new_zeros(1, COUNT, features.shape[2])
        ids = torch.tensor([[*tokens, *[0] * (length + COUNT - len(tokens))]])
        made.clear()
        head(torch.cat([features, behind], dim=1), ids, torch.zeros_like(ids), ttt_steps=steps)
        return made[-1][0, length - 1]

    record(FOLDER / name, target.features(layers or DEFAULT_LAYERS), draft, head.d2t)


def make_parallel_speculators(
    target: Target, name: str, layer_config: Any, layers: tuple[int, ...], seed: int, **more: Any
) -> None:
    from speculators.losses import resolve_loss_config
    from speculators.models.peagle import core

    head = speculators_head(name, "peagle", layer_config, layers, seed, mask_token_id=5, **more)
    made: list[torch.Tensor] = []
    head.lm_head.register_forward_hook(lambda module, given, out: made.append(out))
    chosen: list[tuple[torch.Tensor, torch.Tensor]] = []
    choose = core.generate_cod_sample_indices

    def noting(**how: Any) -> Any:
        chosen.append(choose(**how))
        return chosen[-1]

    core.generate_cod_sample_indices = noting

    def draft(features: torch.Tensor, tokens: list[int]) -> torch.Tensor:
        """Of all depths behind all positions, which training computes at once, one is taken."""
        length, depth = features.shape[1], len(tokens) - features.shape[1]
        behind = features.new_zeros(1, COUNT, features.shape[2])
        ids = torch.tensor([[*tokens[:length], *[0] * COUNT]])
        head(
            torch.cat([features, behind], dim=1), ids, torch.zeros_like(ids),
            verifier_last_hidden_states=torch.zeros(1, length + COUNT, HIDDEN), num_depths=COUNT,
            down_sample_ratio=1.0, down_sample_ratio_min=1.0,
            loss_config=resolve_loss_config("kl_div", "eager"),
        )  # fmt: skip
        anchors, depths = chosen[-1]
        row = ((anchors == length - 1) & (depths == depth)).nonzero()
        return made[-1][0, int(row)]

    record(FOLDER / name, target.features(layers), draft, head.d2t)


def make_parallel_specforge(target: Target, name: str, more: dict[str, Any], seed: int) -> None:
    from specforge.modeling.draft.peagle import PEagleDraftModel
    from torch.nn.attention.flex_attention import create_block_mask

    config = {
        **SIZES,
        "rms_norm_eps": 1e-5,
        "draft_vocab_size": DRAFT_VOCAB,
        "head_dim": 16,
        **more,
    }
    head = PEagleDraftModel(LlamaConfig(**config, pad_token_id=0))
    head = with_vocabulary(randomized(head, seed))
    told = {"architectures": ["PEagleDraftModel"], "model_type": "llama", **config}
    folder = write(name, told, head.state_dict())

    def draft(features: torch.Tensor, tokens: list[int]) -> torch.Tensor:
        length, depth = features.shape[1], len(tokens) - features.shape[1]
        ids = torch.tensor([[*tokens[:length], *[config["mask_token_id"]] * depth]])
        states = torch.cat([features, head.mask_hidden.expand(1, depth, -1)], dim=1)
        count = length + depth
        mask = create_block_mask(
            lambda batch, heads, row, column: row >= column, None, None, count, count, device="cpu"
        )
        normed = head(states, head.embed_input_ids(ids), mask, torch.arange(count)[None])
        return head.lm_head(normed[0, -1])

    record(folder, target.features(DEFAULT_LAYERS), draft, head.d2t)


def rename(
    source: str, name: str, change: Callable[[str], str | None], config: dict[str, Any]
) -> None:
    """The same head under the names that another writer gives it."""
    from safetensors.torch import load_file

    kept = load_file(FOLDER / source / "model.safetensors")
    tensors = {change(key): tensor for key, tensor in kept.items()}
    given = json.loads((FOLDER / source / "config.json").read_text())
    folder = write(name, {**given, **config}, {key: part for key, part in tensors.items() if key})
    (folder / "drafted.json").write_bytes((FOLDER / source / "drafted.json").read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--eagle", type=Path, required=True, help="checkout of SafeAILab/EAGLE")
    sys.path.insert(0, str(parser.parse_args().eagle))
    target = Target()
    target.save()
    make_safeai1(target, "safeailab-1", {}, 1)
    make_safeai1(target, "safeailab-1-qkv-bias", {"bias": False, "qkv_bias": True}, 2)
    make_safeai3(target, "safeailab-3", {}, 3)
    make_safeai3(
        target, "safeailab-3-own-width", {"target_hidden_size": HIDDEN, "hidden_size": 48}, 4
    )
    make_specforge(
        target, "specforge-3",
        {
            "rope_parameters": {
                "rope_type": "llama3", "rope_theta": 500.0, "factor": 4.0, "low_freq_factor": 1.0,
                "high_freq_factor": 4.0, "original_max_position_embeddings": 8,
            },
            "eagle_config": {IDS: [0, 2, 6], "use_aux_hidden_state": True},
        },
        (1, 3, 7), 5,
    )  # fmt: skip
    make_specforge(
        target, "specforge-3.1",
        {
            "fc_norm": True, "norm_output": True, "sliding_window": 512, "use_sliding_window": False,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6},
        },
        DEFAULT_LAYERS, 6,
    )  # fmt: skip
    llama = LlamaConfig(**{**SIZES, "num_hidden_layers": 2}, head_dim=16, rope_theta=2000.0)
    make_speculators(
        target, "speculators-llama", llama, (3, 4, 6), 7, norm_before_residual=True,
        norm_before_fc=True,
    )  # fmt: skip
    qwen3 = Qwen3Config(**SIZES, head_dim=8, rope_theta=1e6, attention_bias=True)
    make_speculators(target, "speculators-3.1", qwen3, (1, 5), 8, fc_norm=True, norm_output=True)
    plain = LlamaConfig(**SIZES, rms_norm_eps=1e-5, rope_theta=10_000.0)
    make_speculators(target, "speculators-plain", plain, None, 9)
    parallel = LlamaConfig(**{**SIZES, "num_hidden_layers": 2}, head_dim=16, rope_theta=2000.0)
    make_parallel_speculators(
        target, "speculators-parallel", parallel, (1, 4, 6), 10, norm_before_residual=True,
        fc_norm=True,
    )  # fmt: skip
    make_parallel_specforge(
        target, "specforge-parallel",
        {"num_hidden_layers": 3, "mask_token_id": 9, "rope_theta": 1000.0}, 11,
    )  # fmt: skip
    rename(
        "safeailab-3", "model-optimizer",
        lambda key: None if key == "t2d" else key.replace("midlayer.", "layers.0."),
        {
            "rope_theta": 10_000.0, "head_dim": 8,
            "eagle_config": {
                IDS: [layer - 1 for layer in DEFAULT_LAYERS], "use_aux_hidden_state": True,
                "use_input_layernorm_in_first_layer": True, "use_last_layernorm": True,
                "use_mtp_layernorm": False, "next_layer_regular": True, "parallel_draft_step": 1,
            },
        },
    )  # fmt: skip
    rename("safeailab-3", "prefixed", lambda key: f"model.{key}" if "layer" in key else key, {})


if __name__ == "__main__":
    main()
