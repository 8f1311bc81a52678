"""Writes tiny layers for multi-token prediction, and what transformers' own code drafts with them.

Needs torch and transformers 5.24. From the repository's folder:

    python -m tests.formats.make_mtp_layers

The arithmetic is that of transformers' `MtpModel`, whose one layer drafts token after token, over the
target that the EAGLE heads draft for; the names are those of the checkpoints of each form.
"""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from transformers import LlamaForCausalLM
from transformers.modeling_layers import MtpModel

from core.families.mtp import MTP_FORMS
from tests.formats.make_eagle_heads import COUNT, LAYERS, PROMPT, randomized, stored
from tests.formats.make_eagle_heads import FOLDER as EAGLE

FOLDER = Path(__file__).parent / "mtp"


def drafted_by(model: Any, states: torch.Tensor) -> dict[str, Any]:
    """Greedy drafts; every step computes all rows anew  # states: [1, rows, hidden]."""
    tokens, drafted, probs = PROMPT[1:], [], []
    for _ in range(COUNT):
        positions = torch.arange(1, len(tokens) + 1)[None]
        made = model.forward_layer(0, states, positions, None, input_ids=torch.tensor([tokens]))
        chances = model._project_to_logits(made[0, -1]).softmax(-1)
        drafted.append(int(chances.argmax()))
        probs.append(float(chances.max()))
        tokens, states = [*tokens, drafted[-1]], torch.cat([states, made[:, -1:]], dim=1)
    return {"prompt": PROMPT, "drafted": drafted, "probs": probs}


def make(target: Any, name: str, seed: int) -> None:
    form = MTP_FORMS[name]
    target.config.mtp_hidden_states_first = form.state_is_first
    model = MtpModel(target, 1)
    randomized(model.layers, seed)
    own, layer = form.own.format(LAYERS), form.layer.format(LAYERS)
    names = {
        "enorm": own + form.embedding_norm, "hnorm": own + form.state_norm,
        "eh_proj": own + form.join, "post_norm": own + form.final_norm,
    }  # fmt: skip
    tensors = {}
    for key, tensor in model.layers[0].state_dict().items():
        part, _, rest = key.partition(".")
        tensors[layer + rest if part == "mtp_block" else f"{names[part]}.{rest}"] = tensor
    for copy in form.copies:
        table = target.lm_head if "head" in copy else target.model.embed_tokens
        tensors[own + copy] = table.weight.clone()
    folder = FOLDER / name
    folder.mkdir(parents=True, exist_ok=True)
    save_file(stored(tensors), folder / "model.safetensors")
    config = json.loads((EAGLE / "target" / "config.json").read_text())
    config["num_nextn_predict_layers"] = 1
    (folder / "config.json").write_text(json.dumps(config, indent=1) + "\n")
    states = target(torch.tensor([PROMPT[:-1]]), output_hidden_states=True).hidden_states[-1]
    found = drafted_by(model, states)
    (folder / "drafted.json").write_text(json.dumps(found) + "\n")
    print(name, found["drafted"], [round(prob, 3) for prob in found["probs"]])


def main() -> None:
    target = LlamaForCausalLM.from_pretrained(EAGLE / "target", dtype=torch.float32)
    target = target.eval().requires_grad_(False)
    target.config.num_mtp_layers = 1
    for seed, name in enumerate(MTP_FORMS, 1):
        make(target, name, seed)


if __name__ == "__main__":
    main()
