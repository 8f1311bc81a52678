"""The tokenizer of a model: transformers' own, or the `tokenizers` library that it wraps.

Importing transformers takes about a second. A folder whose tokenizer.json says everything needs only
the library that reads that file; `tests` compare both.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from core.models.conversion import MANIFEST_NAME
from core.models.sources import ModelSource
from core.models.transformers_loading import read_transformers_tokenizer

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# Classes that take tokenizer.json as it is; others build their parts anew.
_PLAIN_CLASSES = ("TokenizersBackend", "PreTrainedTokenizerFast")
_SPECIAL = ("bos_token", "eos_token", "pad_token", "unk_token")
# Settings that change no token. Beside others, transformers decides what they mean.
_HARMLESS = {
    "backend", "is_local", "local_files_only", "model_max_length", "tokenizer_class", *_SPECIAL
}  # fmt: skip
# transformers mends the splitting of some larger vocabularies; of converted files there is nothing
# to mend.
_MOST_TOKENS = 100_000
_FILES_OF_OTHERS = ("special_tokens_map.json", "added_tokens.json", "additional_chat_templates")


class Encoded(NamedTuple):
    """A text's tokens, under transformers' name."""

    input_ids: list[int]


class PlainTokenizer:
    """The part of transformers' tokenizers that a run needs, over one tokenizer.json."""

    def __init__(self, backend: "Tokenizer", special: dict[str, str], chat_template: str | None):
        """`special` holds the special tokens by their transformers names."""
        self.backend_tokenizer = backend
        self.chat_template = chat_template
        self.special_tokens_map = special

    @property
    def eos_token_id(self) -> int | None:
        token = self.special_tokens_map.get("eos_token")
        return None if token is None else self.backend_tokenizer.token_to_id(token)

    @property
    def all_special_ids(self) -> list[int]:
        ids = (
            self.backend_tokenizer.token_to_id(token) for token in self.special_tokens_map.values()
        )
        return [token_id for token_id in ids if token_id is not None]

    @property
    def added_tokens_decoder(self) -> dict[int, Any]:
        return dict(self.backend_tokenizer.get_added_tokens_decoder())

    def get_vocab(self) -> dict[str, int]:
        vocabulary: dict[str, int] = self.backend_tokenizer.get_vocab()
        return vocabulary

    def convert_ids_to_tokens(self, token_id: int) -> str | None:
        return self.backend_tokenizer.id_to_token(token_id)

    def __call__(self, text: str, add_special_tokens: bool = True) -> Encoded:
        """`add_special_tokens` puts those round the text that the tokenizer puts round any text."""
        return Encoded(
            self.backend_tokenizer.encode(text, add_special_tokens=add_special_tokens).ids
        )

    def decode(
        self,
        token_ids: list[int],
        skip_special_tokens: bool = False,
        clean_up_tokenization_spaces: bool = False,
    ) -> str:
        """`clean_up_tokenization_spaces` is there for transformers' sake: these have none."""
        return self.backend_tokenizer.decode(token_ids, skip_special_tokens=skip_special_tokens)


def read_tokenizer(source: ModelSource) -> Any:
    """The tokenizer of a model; raises ModelUnavailableError where it cannot be read."""
    if source.model is not None:
        found = source.model.tokenizer
        return PlainTokenizer(found.backend, found.special, found.chat_template)
    return read_plain_tokenizer(source.folder) or read_transformers_tokenizer(source)


def read_plain_tokenizer(folder: Path) -> PlainTokenizer | None:
    """None where transformers would do more than read tokenizer.json."""
    try:
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8-sig"))
        is_plain = (
            settings["tokenizer_class"] in _PLAIN_CLASSES
            and set(settings) <= _HARMLESS
            and not any((folder / name).exists() for name in _FILES_OF_OTHERS)
        )
        template_file = folder / "chat_template.jinja"
        template = template_file.read_text(encoding="utf-8-sig") if template_file.exists() else None
        if not is_plain:
            return None
        from tokenizers import Tokenizer

        backend = Tokenizer.from_file(str(folder / "tokenizer.json"))
    except Exception:  # the library's errors are plain Exceptions; transformers tells what is wrong
        return None
    special = {name: settings[name] for name in _SPECIAL if isinstance(settings.get(name), str)}
    added = {token.content for token in backend.get_added_tokens_decoder().values()}
    fits = (
        backend.post_processor is not None
        and backend.truncation is None
        and backend.padding is None
        and (backend.get_vocab_size() <= _MOST_TOKENS or (folder / MANIFEST_NAME).exists())
        and set(special.values()) <= added
    )
    return PlainTokenizer(backend, special, template) if fits else None
