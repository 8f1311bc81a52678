"""A tiny chat model and a folder of data that it wrote."""

from pathlib import Path
from typing import Any

import pytest

from core.loading.fingerprint import model_key
from core.loading.loading import load_model
from core.train.chat_frame import assistant_mask, chat_frame
from core.train.conversations import cut
from core.train.sampler import Opening, Sampler, SamplerSettings
from core.train.shards import Conversation, shard_path, write_manifest, write_shard
from core.train.teacher import own_forward
from tests.tiny_folder import byte_tokenizer
from tests.tiny_models import tiny_model

TEMPLATE = (
    "{% for m in messages %}<turn>{{ m.role[0] }}{{ m.content }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<turn>a{% endif %}"
)


def write_chat_model(folder: Path, module: Any) -> str:
    """A module of 192 tokens as a chat model; returns the folder's name."""
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    tokenizer.chat_template = TEMPLATE
    module.generation_config.eos_token_id = tokenizer.eos_token_id
    module.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def chat_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_chat_model(tmp_path_factory.mktemp("chat"), tiny_model("llama"))


def write_answers(folder: Path, chat_folder: str) -> Path:
    """Greedy answers to two prompts, over and over: few enough to learn by heart."""
    folder.mkdir(exist_ok=True)
    target = load_model(chat_folder, dtype="float32", compile=False)
    frame = chat_frame(target.tokenizer, target.eos_token_ids)
    sampler = Sampler(own_forward(target), frame, SamplerSettings(8, 64, 16, 40))
    openings = [
        Opening(frame.conversation_start([10 + index % 2, 11, 12]), True, 1, 0.0)
        for index in range(8)
    ]
    sampled = sampler.run(openings, seed=0)
    conversations = [
        Conversation(ids, assistant_mask(ids, frame), 0.0, index == 0)
        for index, (_, ids) in enumerate(cut(sampled))
    ]
    write_shard(shard_path(folder, 0), conversations)
    write_manifest(folder, {"settings": {"target": "tiny", "target_key": model_key(target)}})
    return folder


@pytest.fixture(scope="session")
def data_folder(chat_folder: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_answers(tmp_path_factory.mktemp("data"), chat_folder)
