"""Hydra's heads with random weights, behind a layer, for a tiny target of Llama's shape."""

import json
from pathlib import Path
from typing import Any

import torch


def hydra_heads(folder: Path, config: Any) -> str:
    """Writes two for a model of a transformers configuration; returns the folder's name."""
    hidden, inner = config.hidden_size, config.intermediate_size
    keys = hidden // config.num_attention_heads * config.num_key_value_heads
    layer = "prefix_embeding_layer.layers.0."
    sizes: dict[str, tuple[int, ...]] = {
        f"{layer}self_attn.q_proj.weight": (hidden, hidden),
        f"{layer}self_attn.k_proj.weight": (keys, hidden),
        f"{layer}self_attn.v_proj.weight": (keys, hidden),
        f"{layer}self_attn.o_proj.weight": (hidden, hidden),
        f"{layer}mlp.gate_proj.weight": (inner, hidden),
        f"{layer}mlp.up_proj.weight": (inner, hidden),
        f"{layer}mlp.down_proj.weight": (hidden, inner),
        f"{layer}input_layernorm.weight": (hidden,),
        f"{layer}post_attention_layernorm.weight": (hidden,),
        "prefix_embeding_layer.norm.weight": (hidden,),
    }
    for head in range(2):
        width = hidden * (head + 2)
        for part in ("linear", "res_connection"):
            sizes[f"hydra_mlp.{head}.1.{part}.weight"] = (hidden, width)
            sizes[f"hydra_mlp.{head}.1.{part}.bias"] = (hidden,)
        sizes[f"hydra_lm_head.{head}.1.weight"] = (config.vocab_size, hidden)
        sizes[f"hydra_lm_head.{head}.1.bias"] = (config.vocab_size,)
    torch.manual_seed(0)
    folder.mkdir()
    tensors = {name: 0.1 * torch.randn(size) for name, size in sizes.items()}
    torch.save(tensors, folder / "hydra_lm_head.pt")
    told = {"hydra_head_arch": "prefix-mlp", "grounded_heads": True, "hydra_num_layers": 1}
    (folder / "config.json").write_text(json.dumps(told))
    return str(folder)
