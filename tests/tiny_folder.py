"""A tiny random model saved as a folder with a tokenizer, for tests of the whole engine."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from tests.tiny_models import tiny_model

CHAT_TEMPLATE = (
    "{% for message in messages %}{{ message.role }}: {{ message.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)


def byte_tokenizer(*, first_id: int = 0, end: str = "<end>") -> PreTrainedTokenizerFast:
    """One token a byte of ASCII, and an end; `first_id` shifts the ids round the vocabulary."""
    characters = sorted(pre_tokenizers.ByteLevel.alphabet())[:180]
    vocabulary = {
        character: (index + first_id) % len(characters)
        for index, character in enumerate(characters)
    }
    vocabulary[end] = len(characters)
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token=end))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token=end)
    wrapped.chat_template = CHAT_TEMPLATE
    return wrapped


def save_tiny_model(
    folder: Path, family: str = "llama", *, seed: int = 0, first_id: int = 0
) -> str:
    """Writes model and tokenizer; returns the folder's name, as a target or draft is named."""
    module = tiny_model(family, torch.float32, seed)
    module.generation_config.eos_token_id = None
    module.save_pretrained(folder)
    byte_tokenizer(first_id=first_id).save_pretrained(folder)
    return str(folder)
