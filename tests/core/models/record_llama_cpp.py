"""Writes llama_cpp_ids.json: what llama.cpp makes of TEXTS with each file of `tiny_gguf`.

Run it with a Python that has gguf, tokenizers and llama-cpp-python 0.3.36, and give the default
model's GGUF file: python -m tests.core.models.record_llama_cpp FILE
"""

import ctypes
import json
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

import llama_cpp
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers

from core.models.gguf_splitting import SPLITTINGS
from tests.core.models.tiny_gguf import (
    CASES,
    END_CASES,
    FIRST,
    RECORDED,
    TEXTS,
    splitting_case,
)

_WHOLE = {"bytes": ["Ġapple", "hello", "123456"], "spaces": ["▁apple", "hello"]}
_UNWRITTEN = re.compile("[^\\x20-\\x7e▁äéïñçÅßÉ—“”…中文字日本語ελнкий]")


@llama_cpp.llama_log_callback
def _say_nothing(*_: Any) -> None:
    """Kept here, for llama.cpp calls it as long as it lives."""


def train(name: str) -> dict[str, Any]:
    """A vocabulary that merges the texts as far as that goes, over all borders of words."""
    tokenizer = Tokenizer(models.BPE())
    whole = re.compile("|".join(map(re.escape, FIRST)))
    texts = [part for text in TEXTS for part in whole.split(text)]
    if name == "bytes":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        alphabet, single = sorted(pre_tokenizers.ByteLevel.alphabet()), []
    else:
        tokenizer.normalizer = normalizers.Replace(" ", "▁")
        texts = [part for text in texts for part in _UNWRITTEN.split(text)]
        alphabet, single = [], [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=100_000, min_frequency=1, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    made = json.loads(tokenizer.to_str())["model"]
    ids = {token: index for index, token in enumerate(FIRST)}
    products = {"".join(pair) for pair in made["merges"]}
    single += sorted(token for token in made["vocab"] if token not in products)
    ids |= {token: len(FIRST) + index for index, token in enumerate(single)}
    merges: list[int] = []
    for left, right in made["merges"]:
        merges += [ids[left], ids[right]]
        ids[left + right] = len(ids)
    unmade = [token for token in _WHOLE[name] if token not in ids]
    return {"single": single, "merges": merges, "whole": unmade}


def record(path: Path) -> dict[str, Any]:
    """Ids of each text, with what stands round it; and the ids that end an answer."""
    model = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    vocabulary = llama_cpp.llama_model_get_vocab(model.model)
    num_tokens = llama_cpp.llama_vocab_n_tokens(vocabulary)
    return {
        "ids": [model.tokenize(text.encode(), add_bos=True, special=True) for text in TEXTS],
        "plain": [model.tokenize(text.encode(), add_bos=False, special=False) for text in TEXTS],
        "ends": [i for i in range(num_tokens) if llama_cpp.llama_vocab_is_eog(vocabulary, i)],
    }


def main(default_model: str) -> None:
    """Makes the file anew."""
    llama_cpp.llama_log_set(_say_nothing, ctypes.c_void_p(0))
    result: dict[str, Any] = {"vocabularies": {name: train(name) for name in ("bytes", "spaces")}}
    write(result)  # the files are made of it
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tiny.gguf"
        distinct: list[list[list[int]]] = [[] for _ in TEXTS]
        splittings: dict[str, list[int]] = {}
        for name, splitting in SPLITTINGS.items():
            case = splitting_case(name, is_byte_level=splitting.is_byte_level)
            # Most splittings agree on most texts: each text's ids are kept once.
            places = []
            for ids, known in zip(record(case.write(path))["ids"], distinct, strict=True):
                if ids not in known:
                    known.append(ids)
                places.append(known.index(ids))
            splittings[name] = places
        result["distinct"], result["splittings"] = distinct, splittings
        result["cases"] = {name: record(case.write(path)) for name, case in CASES.items()}
        result["ends"] = {
            name: record(case.write(path))["ends"] for name, case in END_CASES.items()
        }
    result["default model"] = record(Path(default_model))
    write(result)


def write(result: dict[str, Any]) -> None:
    """A line a key, for who compares versions."""
    lines = ",\n".join(
        f"{json.dumps(key)}: {json.dumps(value, separators=(',', ':'))}"
        for key, value in result.items()
    )
    RECORDED.write_text(f"{{{lines}}}\n", "utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
