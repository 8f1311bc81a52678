"""A block drafter with random weights, in z-lab's form, for a tiny target."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file


def block_drafter(folder: Path, config: Any) -> str:
    """Writes one of one layer for a model of a transformers configuration; returns the folder's name."""
    hidden, inner, heads = config.hidden_size, 2 * config.hidden_size, config.num_attention_heads
    head_dim, keys = 16, 16 * config.num_key_value_heads
    layer = "layers.0."
    sizes: dict[str, tuple[int, ...]] = {
        "fc.weight": (hidden, 2 * hidden),
        "hidden_norm.weight": (hidden,),
        "norm.weight": (hidden,),
        f"{layer}input_layernorm.weight": (hidden,),
        f"{layer}post_attention_layernorm.weight": (hidden,),
        f"{layer}self_attn.q_proj.weight": (heads * head_dim, hidden),
        f"{layer}self_attn.k_proj.weight": (keys, hidden),
        f"{layer}self_attn.v_proj.weight": (keys, hidden),
        f"{layer}self_attn.o_proj.weight": (hidden, heads * head_dim),
        f"{layer}self_attn.q_norm.weight": (head_dim,),
        f"{layer}self_attn.k_norm.weight": (head_dim,),
        f"{layer}mlp.gate_proj.weight": (inner, hidden),
        f"{layer}mlp.up_proj.weight": (inner, hidden),
        f"{layer}mlp.down_proj.weight": (hidden, inner),
    }
    torch.manual_seed(0)
    tensors = {
        name: torch.rand(size) + 0.5 if len(size) == 1 else 0.15 * torch.randn(size)
        for name, size in sizes.items()
    }
    folder.mkdir()
    save_file(tensors, folder / "model.safetensors")
    description = {
        "architectures": ["DFlashDraftModel"],
        "model_type": "qwen3",
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": 1,
        "num_attention_heads": heads,
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": head_dim,
        "vocab_size": config.vocab_size,
        "block_size": 6,
        "dflash_config": {"mask_token_id": 3, "target_layer_ids": [0, 1]},
    }
    (folder / "config.json").write_text(json.dumps(description))
    return str(folder)
