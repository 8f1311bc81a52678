"""Writes EAGLE-3 heads as GGUF files by llama.cpp's own converter.

Needs sentencepiece, and llama.cpp at b11549, which is within the source package xllamacpp 2026.10.11549.
From the repository's folder:

    python -m tests.formats.make_gguf_heads --llama-cpp CHECKOUT
"""

import argparse
import json
import shutil
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.formats.gguf_heads import FILES, SOURCES, HeadSource
from tests.formats.published import HEADS
from tests.tiny_folder import byte_tokenizer

VOCAB = 192


def write_tokenizer(folder: Path) -> None:
    """As the target's, in a form that the converter knows: it asks for merges, and for a class."""
    byte_tokenizer().save_pretrained(folder)
    told = json.loads((folder / "tokenizer.json").read_text())
    told["model"]["merges"] = [["a", "b"]]
    told["model"]["vocab"]["ab"] = 181
    (folder / "tokenizer.json").write_text(json.dumps(told))


def convert(source: HeadSource, target: Path, path: Path) -> None:
    from conversion import get_model_class
    from conversion.base import ModelBase, TextModel
    from gguf import LlamaFileType

    types = {
        "bf16": LlamaFileType.MOSTLY_BF16,
        "f32": LlamaFileType.ALL_F32,
        "q8_0": LlamaFileType.MOSTLY_Q8_0,
    }
    # It knows tokenizers by what they make of a text, and this one is nobody's.
    TextModel.get_vocab_base_pre = lambda self, tokenizer: "default"
    with TemporaryDirectory() as parent:
        folder = source.written(Path(parent) / "head")
        hparams = ModelBase.load_hparams(folder, False)
        made = get_model_class("LlamaForCausalLMEagle3")(
            folder, types[source.outtype], path, hparams=hparams, target_model_dir=target
        )
        made.write()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--llama-cpp", type=Path, required=True, help="checkout of llama.cpp")
    checkout = parser.parse_args().llama_cpp
    sys.path[:0] = [str(checkout), str(checkout / "gguf-py")]
    FILES.mkdir(exist_ok=True)
    with TemporaryDirectory() as parent:
        target = Path(parent) / "target"
        shutil.copytree(HEADS / "target", target)
        write_tokenizer(target)
        for name, source in SOURCES.items():
            convert(source, target, FILES / f"{name}.gguf")


if __name__ == "__main__":
    main()
