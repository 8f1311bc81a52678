"""EAGLE heads with random weights, in the published formats, for a tiny target."""

import json
from pathlib import Path
from typing import Any

import torch

from core.drafters.eagle_head import EagleHead, HeadShape, head_config, write_parts

DRAFT_VOCAB = 96


def eagle3_head(folder: Path, config: Any) -> str:
    """Writes one for a model of a transformers configuration; returns the folder's name."""
    shape = HeadShape(
        hidden_size=config.hidden_size,
        num_heads=config.num_attention_heads,
        num_kv_heads=getattr(config, "num_key_value_heads", config.num_attention_heads),
        head_dim=getattr(config, "head_dim", None)
        or config.hidden_size // config.num_attention_heads,
        intermediate_size=2 * config.hidden_size,
        draft_vocab_size=DRAFT_VOCAB,
        vocab_size=config.vocab_size,
        num_features=2,
        norm_eps=1e-6,
        rope_theta=10_000.0,
    )
    torch.manual_seed(0)
    head = EagleHead(shape)
    head.set_vocabulary(torch.arange(DRAFT_VOCAB) * 2)
    folder.mkdir()
    write_parts(dict(head.state_dict()), folder, {}, 1 << 24)
    (folder / "config.json").write_text(json.dumps(head_config(shape, (0, 2))))
    return str(folder)


def eagle1_head(folder: Path, config: Any) -> str:
    """The names of EAGLE-1 and -2: a layer without a first norm, the target's own head."""
    hidden, inner = config.hidden_size, 2 * config.hidden_size
    keys = hidden // config.num_attention_heads * config.num_key_value_heads
    torch.manual_seed(0)
    sizes = {
        "fc.weight": (hidden, 2 * hidden),
        "fc.bias": (hidden,),
        "layers.0.self_attn.q_proj.weight": (hidden, hidden),
        "layers.0.self_attn.k_proj.weight": (keys, hidden),
        "layers.0.self_attn.v_proj.weight": (keys, hidden),
        "layers.0.self_attn.o_proj.weight": (hidden, hidden),
        "layers.0.mlp.gate_proj.weight": (inner, hidden),
        "layers.0.mlp.up_proj.weight": (inner, hidden),
        "layers.0.mlp.down_proj.weight": (hidden, inner),
        "layers.0.post_attention_layernorm.weight": (hidden,),
    }
    folder.mkdir()
    tensors = {name: 0.1 * torch.randn(size) for name, size in sizes.items()}
    torch.save(tensors, folder / "pytorch_model.bin")
    description = {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "vocab_size": config.vocab_size,
    }
    (folder / "config.json").write_text(json.dumps(description))
    return str(folder)
